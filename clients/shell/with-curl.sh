# curl, as people type it, against the organization at the gateway's address.

described() {
    python3 -c 'import json, os, sys
value = json.load(open(os.environ["SANDBOX"]))
for name in sys.argv[1].split("."):
    value = value[name]
print(value)' "$1"
}

api="$(described gateway.organization)/api/data/v9.2"
key="$(described gateway.api_key)"

fail() {
    echo "with-curl: $*" >&2
    exit 1
}

call() {
    curl --silent --show-error --cacert "$REQUESTS_CA_BUNDLE" --http1.1 \
        -H "Authorization: Bearer $key" "$@"
}

expect() { # what, pattern, text
    grep -qE -- "$2" <<<"$3" || fail "$1: $2 is not in: $3"
}

# A bare quote, as in a filter that was typed by hand.
answer=$(call "$api/contacts?\$filter=lastname%20eq%20'No\"body'&\$select=lastname")
expect "a bare quote" '"value": ?\[\]' "$answer"

# A row, by the address that the gateway gives it.
head=$(call -D - -o /dev/null -H 'Content-Type: application/json' \
    -d '{"lastname":"Curl, 営業"}' "$api/contacts")
expect "creating" '^HTTP/1.1 204' "$head"
row=$(sed -n 's/^odata-entityid: //ip' <<<"$head" | tr -d '\r')
expect "the row's address" "^$api/contacts\\(" "$row"
expect "reading" 'Curl, 営業' "$(call "$row?\$select=lastname")"

# Compressed on the way there and back; the next page's link leads here.
answer=$(call --compressed -H 'Prefer: odata.maxpagesize=2' "$api/contacts?\$select=lastname")
expect "a page" "\"@odata.nextLink\": ?\"$api/contacts" "$answer"
next=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["@odata.nextLink"])' <<<"$answer")
expect "the next page" '"value"' "$(call "$next")"

# A function with a parameter alias that names a row by its address.
account=$(call -D - -o /dev/null -H 'Content-Type: application/json' \
    -d "{\"name\":\"Curl\",\"primarycontactid@odata.bind\":\"$row\"}" "$api/accounts" |
    sed -n 's/^odata-entityid: //ip' | tr -d '\r')
expect "binding" 'Curl, 営業' \
    "$(call "$account?\$expand=primarycontactid(\$select=lastname)&\$select=name")"

# A batch with the gateway's addresses in it, line ends as curl's user types them.
batch=$(printf -- '--b\r\nContent-Type: application/http\r\n\r\nGET %s?$select=lastname HTTP/1.1\r\nAccept: application/json\r\n\r\n--b--\r\n' "$row")
answer=$(call -H 'Content-Type: multipart/mixed; boundary=b' --data-binary "$batch" "$api/\$batch")
expect "a batch" 'HTTP/1.1 200 OK' "$answer"
expect "a batch's links" "$api/\\\$metadata#contacts" "$answer"

# The metadata document, and what is upset when a row is gone.
metadata=$(call "$api/\$metadata")
grep -q '<EntityType Name="contact"' <<<"$metadata" || fail "metadata"
expect "deleting" '^204$' "$(call -X DELETE -o /dev/null -w '%{http_code}' "$row")"
answer=$(call -D - "$row")
expect "a row that is gone" '0x80040217' "$answer"
grep -qi '^tieline-failed' <<<"$answer" && fail "Dynamics' own 404 is called ours"
exit 0
