"""Prepares a server for schemathesis: two people with a conversation and a group, and a third one. Prints the OpenAPI document
with ids that stand for something among those that may be made up, and to stderr the tokens.
usage: openapi_prepare.py URL"""

import json
import sys
import urllib.request

url = sys.argv[1]


def call(method, path, body=None, token=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


tokens = {name: call("POST", "/v1/login", {"username": name, "device": "own"})["token"] for name in ["ada", "bob", "eve"]}
ada = tokens["ada"]
group = call("POST", "/v1/conversations", {"name": "Team", "members": ["bob"]}, ada)["conversation"]
for text in ["one", "two", "three"]:
    direct = call("POST", "/v1/messages", {"to": {"user": "bob"}, "text": text}, ada)["conversation"]
    call("POST", "/v1/messages", {"to": {"conversation": group}, "text": text}, ada)

document = call("GET", "/openapi.json")
schemas = document["components"]["schemas"]
schemas["ConversationId"] = {"anyOf": [{"enum": [group, direct]}, schemas["ConversationId"]]}
schemas["UserId"] = {"anyOf": [{"enum": ["ada", "bob", "eve", "nobody"]}, schemas["UserId"]]}
schemas["DeviceId"] = {"anyOf": [{"enum": ["tablet"]}, schemas["DeviceId"]]}
schemas["Seq"] = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 8}, schemas["Seq"]]}
print(json.dumps(document))
print(f"user={ada}\nstranger={tokens['eve']}", file=sys.stderr)
