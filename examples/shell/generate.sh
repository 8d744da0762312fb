#!/bin/sh
# Asks Gemini one question with keys of keypool:
#
#   generate.sh https://generativelanguage.googleapis.com gemini-2.0-flash "Hello"
#
# Needs curl and the keypool binary; KEYPOOL and KEYPOOL_SOCKET say where it and its socket are.
# Prints the provider's answer. Exits 1 if the provider refused, 3 if the pool is exhausted and 4
# if there is no daemon, as keypool does.
#
# The key travels to curl through a pipe, never as an argument that `ps` would show.

set -eu

if [ $# -ne 3 ]; then
    echo "usage: $0 BASE_URL MODEL PROMPT" >&2
    exit 2
fi
base_url=$1 model=$2 prompt=$3
keypool=${KEYPOOL:-keypool}
most_attempts=8

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# The prompt as a JSON string: quotes and backslashes are escaped, control characters are spaces.
quoted=$(printf '%s' "$prompt" | tr '[:cntrl:]' ' ' | sed 's/[\\"]/\\&/g')
printf '{"contents":[{"parts":[{"text":"%s"}]}]}' "$quoted" >"$scratch/request"

tried=
attempt=1
while [ "$attempt" -le "$most_attempts" ]; do
    # Sets LEASE_ID, KEY_ID, MODEL, HEADER_NAME, HEADER_VALUE and more, or exits as keypool did.
    lease=$("$keypool" select --model "$model" --wait 10s ${tried:+--exclude "$tried"})
    eval "$lease"

    status=$(
        printf 'header = "%s: %s"\n' "$HEADER_NAME" "$HEADER_VALUE" |
            curl --config - --silent --max-time 60 \
                --header 'Content-Type: application/json' \
                --data "@$scratch/request" \
                --output "$scratch/answer" --write-out '%{http_code}' \
                "$base_url/v1beta/models/$MODEL:generateContent"
    ) || status=000

    if [ "$status" = 000 ]; then
        "$keypool" report "$LEASE_ID" --outcome timeout >&2
    else
        verdict=$("$keypool" --json report "$LEASE_ID" \
            --status "$status" --body-file "$scratch/answer")
        case $status in
            2??)
                cat "$scratch/answer"
                exit 0
                ;;
        esac
        echo "$KEY_ID: the provider answered $status" >&2
        case $verdict in
            *'"retry":true'*) ;;
            *)
                cat "$scratch/answer" >&2
                exit 1
                ;;
        esac
    fi
    tried=${tried:+$tried,}$KEY_ID
    attempt=$((attempt + 1))
done
echo "gave up after $most_attempts attempts" >&2
exit 1
