# Pushes with dulwich. Reads the order as JSON from stdin; prints one JSON message per line.
import codecs
import json
import sys

from dulwich.client import HttpGitClient
from dulwich.objects import ZERO_SHA
from dulwich.repo import Repo


def say(message):
    print(json.dumps(message), flush=True)


decoder = codecs.getincrementaldecoder("utf-8")()


def on_text(data):
    say({"text": decoder.decode(data)})


def push(order):
    repo = Repo(order["dir"])
    base, path = order["url"].rsplit("/", 1)
    client = HttpGitClient(base, username=order["user"], password=order["password"])
    source, target = order["refspec"].lstrip("+").encode().split(b":")
    tip = repo.refs[source] if source else ZERO_SHA
    options = [option.encode() for option in order.get("options", [])]
    result = client.send_pack(
        path,
        lambda refs: {target: tip},
        repo.generate_pack_data,
        progress=on_text,
        push_options=options,
    )
    status = (result.ref_status or {}).get(target)
    return {"ok": status is None, "reason": status or ""}


try:
    verdict = push(json.loads(sys.stdin.readline()))
except Exception as error:
    verdict = {"ok": False, "reason": f"{type(error).__name__}: {error}"}
say(verdict)
