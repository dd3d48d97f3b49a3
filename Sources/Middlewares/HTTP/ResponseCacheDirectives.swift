/// The directives of `cache-control` (RFC 9111, 5.2; RFC 5861), of a request or of a response.
///
/// A directive with a list of fields (`private="set-cookie"`, `no-cache="x"`) counts as one without it: stricter, and
/// allowed (5.2.2.4, 5.2.2.7). Of two values the smaller one counts; one that is no number counts as 0 (4.2.1).
struct CacheDirectives: Equatable {
  struct Flags: OptionSet {
    let rawValue: UInt16
    static let noStore = Flags(rawValue: 1 << 0)
    static let noCache = Flags(rawValue: 1 << 1)
    static let isPrivate = Flags(rawValue: 1 << 2)
    static let isPublic = Flags(rawValue: 1 << 3)
    static let mustRevalidate = Flags(rawValue: 1 << 4)
    static let proxyRevalidate = Flags(rawValue: 1 << 5)
    static let mustUnderstand = Flags(rawValue: 1 << 6)
    static let onlyIfCached = Flags(rawValue: 1 << 7)
    /// There is a `cache-control` at all: then `pragma` does not count.
    static let arePresent = Flags(rawValue: 1 << 8)
  }

  var flags: Flags = []
  /// Seconds, all of them.
  var maxAge: Int64?
  var sharedMaxAge: Int64?
  var maxStale: Int64?
  var minFresh: Int64?
  var staleWhileRevalidate: Int64?
  var staleIfError: Int64?

  /// Reads one field value; several fields add up.
  mutating func read(_ bytes: borrowing Span<UInt8>, _ value: Range<Int>) {
    flags.insert(.arePresent)
    var i = value.lowerBound
    while i < value.upperBound {
      if bytes[i] == UInt8(ascii: ",") || bytes.isBlank(at: i) {
        i += 1
        continue
      }
      let begin = i
      while i < value.upperBound, !Self.endsName(bytes, i) { i += 1 }
      let name = begin..<i
      while i < value.upperBound, bytes.isBlank(at: i) { i += 1 }
      var argument: Range<Int>?
      if i < value.upperBound, bytes[i] == UInt8(ascii: "=") {
        i += 1
        while i < value.upperBound, bytes.isBlank(at: i) { i += 1 }
        argument = Self.argument(bytes, &i, value.upperBound)
      }
      // What else stands before the next comma belongs to no grammar.
      while i < value.upperBound, bytes[i] != UInt8(ascii: ",") { i += 1 }
      note(bytes, name, argument)
    }
  }

  private static func endsName(_ bytes: borrowing Span<UInt8>, _ i: Int) -> Bool {
    bytes[i] == UInt8(ascii: ",") || bytes[i] == UInt8(ascii: "=") || bytes.isBlank(at: i)
  }

  /// A token, or what stands between quotation marks. A comma inside them separates nothing.
  private static func argument(_ bytes: borrowing Span<UInt8>, _ i: inout Int, _ end: Int) -> Range<Int> {
    let begin = i
    guard i < end, bytes[i] == UInt8(ascii: "\"") else {
      while i < end, bytes[i] != UInt8(ascii: ","), !bytes.isBlank(at: i) { i += 1 }
      return begin..<i
    }
    i += 1
    while i < end, bytes[i] != UInt8(ascii: "\"") { i += bytes[i] == UInt8(ascii: "\\") ? 2 : 1 }
    i = min(i, end)
    let inside = begin + 1..<i
    if i < end { i += 1 }
    return inside
  }

  private mutating func note(_ bytes: borrowing Span<UInt8>, _ name: Range<Int>, _ argument: Range<Int>?) {
    switch name.count {
    case 6 where bytes.reads("public", at: name): flags.insert(.isPublic)
    case 7 where bytes.reads("private", at: name): flags.insert(.isPrivate)
    case 7 where bytes.reads("max-age", at: name): Self.keep(&maxAge, bytes, argument)
    case 8 where bytes.reads("no-store", at: name): flags.insert(.noStore)
    case 8 where bytes.reads("no-cache", at: name): flags.insert(.noCache)
    case 8 where bytes.reads("s-maxage", at: name): Self.keep(&sharedMaxAge, bytes, argument)
    // Without a value: however stale it is (5.2.1.2).
    case 9 where bytes.reads("max-stale", at: name):
      if argument == nil { maxStale = maxStale ?? .max } else { Self.keep(&maxStale, bytes, argument) }
    case 9 where bytes.reads("min-fresh", at: name): Self.keep(&minFresh, bytes, argument)
    case 14 where bytes.reads("only-if-cached", at: name): flags.insert(.onlyIfCached)
    case 14 where bytes.reads("stale-if-error", at: name): Self.keep(&staleIfError, bytes, argument)
    case 15 where bytes.reads("must-revalidate", at: name): flags.insert(.mustRevalidate)
    case 15 where bytes.reads("must-understand", at: name): flags.insert(.mustUnderstand)
    case 16 where bytes.reads("proxy-revalidate", at: name): flags.insert(.proxyRevalidate)
    case 22 where bytes.reads("stale-while-revalidate", at: name): Self.keep(&staleWhileRevalidate, bytes, argument)
    // Unknown ones are ignored (5.2.3).
    default: break
    }
  }

  private static func keep(_ field: inout Int64?, _ bytes: borrowing Span<UInt8>, _ argument: Range<Int>?) {
    let value = argument.flatMap { bytes.decimal(at: $0) } ?? 0
    field = min(field ?? .max, value)
  }
}
