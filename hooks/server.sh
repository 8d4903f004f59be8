# The way to the server: descriptor 3, which git has inherited and passes on. git's own errors take the same way,
# so the server begins with a key, and whatever a hook says begins with that. No logic: it runs with every push.
trap '' PIPE

# Passes on the refs that git names; fails without a server.
ask() {
  IFS= read -r key <&3 || return 1
  printf '\n%s %s\n' "$key" "$1" >&3
  while IFS= read -r ref; do printf '%s %s\n' "$key" "$ref" >&3; done
  printf '%s\n' "$key" >&3
} 2>/dev/null

# Says that everything has been taken; fails without a server.
over() {
  printf '%s over\n' "$key" >&3
} 2>/dev/null
