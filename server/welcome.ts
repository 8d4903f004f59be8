// What a person at a terminal reads when the server is ready: how to make a token, add the remote and push.

export function greet(publicUrl: string): void {
  const { host, protocol } = new URL(publicUrl)
  process.stderr.write(
    [
      '',
      'Make a token:    npm run -s token -- --sub you',
      `Add the remote:  git remote add hypeman ${protocol}//you@${host}/my-app.git`,
      'Push:            git push hypeman main     (the token is the password)',
      '',
    ].join('\n'),
  )
}
