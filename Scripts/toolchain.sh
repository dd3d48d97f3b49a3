# Sourced by the other scripts: where the repository is, where Swift is, and the flags that every
# checked build shares. One set of flags means that `make check` and `make test` use one build.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export TOP

if ! command -v swift >/dev/null 2>&1; then
  for candidate in /opt/swift/usr/bin /usr/local/swift/usr/bin "$HOME/.local/share/swiftly/bin"; do
    if [ -x "$candidate/swift" ]; then
      export PATH="$candidate:$PATH"
      break
    fi
  done
fi

# Ends with one sentence when there is no Swift, or one that is too old to know the settings of Package.swift.
require_swift() {
  if ! command -v swift >/dev/null 2>&1; then
    echo "swift: not found on PATH; install Swift 6.2 or newer (https://www.swift.org/install) and try again." >&2
    exit 1
  fi
}

# A scratch path of its own: a plain `swift build` has other flags, and sharing one directory would make
# each of the two rebuild what the other one built.
CHECKED=(--scratch-path "$TOP/.build/checked" -Xswiftc -warnings-as-errors -Xcc -Werror)

# What is run in earnest and measured: the runtime linked in (calls into it are direct, and the machine that runs it needs no
# Swift), and exclusive access checked by the tests alone, which run with the checks on.
RELEASE=(-c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked)

say() { printf '\n== %s\n' "$*"; }
