#!/bin/sh
# NAME_FILE=path stands for NAME=<content of that file>, which is how secrets reach a container.
set -eu

for name in BENCHWIRE_API_KEY BENCHWIRE_DATABASE_URL; do
    eval "path=\${${name}_FILE:-}"
    if [ -n "$path" ]; then
        value=$(cat "$path")
        export "$name=$value"
        unset "${name}_FILE"
    fi
done

exec "$@"
