# Pushes with pygit2 (libgit2). Reads the order as JSON from stdin; prints one JSON message per line.
import json
import sys

import pygit2


def say(message):
    print(json.dumps(message), flush=True)


class Callbacks(pygit2.RemoteCallbacks):
    def __init__(self, order):
        super().__init__(pygit2.UserPass(order["user"], order["password"]))
        self.refused = {}

    def sideband_progress(self, string):
        say({"text": string})

    def push_update_reference(self, refname, message):
        if message is not None:
            self.refused[refname] = message


def push(order):
    callbacks = Callbacks(order)
    remote = pygit2.Repository(order["dir"]).remotes.create_anonymous(order["url"])
    remote.push([order["refspec"]], callbacks, push_options=order.get("options", []))
    return {"ok": not callbacks.refused, "reason": "\n".join(callbacks.refused.values())}


try:
    verdict = push(json.loads(sys.stdin.readline()))
except Exception as error:
    verdict = {"ok": False, "reason": f"{type(error).__name__}: {error}"}
say(verdict)
