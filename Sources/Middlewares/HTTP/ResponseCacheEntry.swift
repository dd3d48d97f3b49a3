internal import Pipeline

/// How long a response may be used, and how.
struct CacheFreshness: Sendable, Equatable {
  /// Nanoseconds for which it is fresh, counted from its origin (RFC 9111, 4.2.1).
  var lifetime: Int64 = 0
  /// Its age when it came, in nanoseconds (4.2.3).
  var initialAge: Int64 = 0
  /// Monotonic, so that a jump of the wall clock makes nothing older or younger.
  var receivedAt = Instant(nanoseconds: 0)
  /// How long past its freshness it may be used while a fresh one is fetched, and when there is none (RFC 5861).
  var staleWhileRevalidate: Int64 = 0
  var staleIfError: Int64 = 0
  /// Never used without asking, however fresh (`no-cache`).
  var alwaysRevalidates = false
  /// Never used stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`).
  var neverStale = false

  static let second: Int64 = 1_000_000_000

  /// Nanoseconds. A loop's clock may lag behind the one that took `receivedAt`.
  func age(at now: Instant) -> Int64 {
    initialAge + (now > receivedAt ? Int64(clamping: now.nanoseconds - receivedAt.nanoseconds) : 0)
  }

  /// Nanoseconds past its freshness; negative while it is fresh.
  func staleness(at now: Instant) -> Int64 { age(at: now) - lifetime }

  /// Whether it was fresh when it came, so that others who asked for it at the same time may have it.
  var isEverFresh: Bool { !alwaysRevalidates && lifetime > initialAge }

  func mayReplaceError(at now: Instant) -> Bool {
    !alwaysRevalidates && !neverStale && staleness(at: now) < staleIfError
  }

  enum Verdict: Equatable {
    case fresh
    /// Stale, and its client takes it as it is (`max-stale`).
    case stale
    /// Stale, but it may be used while a fresh one is fetched.
    case refresh
    /// The origin must be asked. `isForced`: because this client wants it so.
    case ask(isForced: Bool)
  }

  func verdict(at now: Instant, _ client: CacheDirectives) -> Verdict {
    let isForced =
      client.flags.contains(.noCache) || (client.maxAge.map { age(at: now) > $0 * Self.second } ?? false)
    if isForced { return .ask(isForced: true) }
    if alwaysRevalidates { return .ask(isForced: false) }
    let staleness = staleness(at: now)
    if staleness < 0 {
      guard let minFresh = client.minFresh, staleness + minFresh * Self.second > 0 else { return .fresh }
      return .ask(isForced: true)
    }
    if neverStale { return .ask(isForced: false) }
    if let limit = client.maxStale, limit == .max || staleness <= limit * Self.second { return .stale }
    return staleness < staleWhileRevalidate ? .refresh : .ask(isForced: false)
  }
}

/// One field that chose a response, as its request had it (RFC 9111, 4.1).
struct VaryField: Sendable, Equatable {
  /// In lower case.
  let name: [UInt8]
  /// Several fields of the name joined by `, `; `nil`: the request had none.
  let value: [UInt8]?

  init(name: [UInt8], of request: HeaderFields) {
    self.name = name
    var value: [UInt8]?
    request.withWireBytes { bytes in
      var begin = 0
      while begin < bytes.count {
        let line = bytes.fieldLine(at: begin)
        begin = line.end
        guard bytes.reads(name, at: line.name) else { continue }
        value = (value.map { $0 + [UInt8(ascii: ","), 32] } ?? []) + bytes.copy(line.value)
      }
    }
    self.value = value
  }

  /// Compares in place.
  func matches(_ request: HeaderFields) -> Bool {
    request.withWireBytes { bytes in
      var begin = 0
      var matched = 0
      var isFirst = true
      while begin < bytes.count {
        let line = bytes.fieldLine(at: begin)
        begin = line.end
        guard bytes.reads(name, at: line.name) else { continue }
        guard let value else { return false }
        if !isFirst {
          guard matched + 2 <= value.count, value[matched] == UInt8(ascii: ","), value[matched + 1] == 32 else {
            return false
          }
          matched += 2
        }
        isFirst = false
        guard matched + line.value.count <= value.count else { return false }
        for i in 0..<line.value.count where bytes[line.value.lowerBound + i] != value[matched + i] { return false }
        matched += line.value.count
      }
      return isFirst ? value == nil : matched == value?.count
    }
  }
}

/// A stored response. It never changes: a revalidation makes a new one, which shares the body.
final class CachedResponse: Sendable {
  let key: [UInt8]
  let hash: UInt64
  let vary: [VaryField]
  let status: Int
  /// That its origin spoke; `nil` for what an element below made.
  let version: HTTPVersion?
  /// The field lines as they go on the wire.
  let lines: [UInt8]
  /// Those that belong to a 304 (RFC 9110, 15.4.5).
  let briefLines: [UInt8]
  let body: [UInt8]
  let freshness: CacheFreshness
  /// Seconds since 1970.
  let storedAt: Int64
  let etag: [UInt8]?
  /// As text, for `if-modified-since` and `if-range`.
  let lastModified: [UInt8]?
  /// Seconds since 1970; of `date` where there is no `last-modified` (RFC 9111, 4.3.2).
  let modifiedAt: Int64?

  init(
    key: [UInt8], hash: UInt64, vary: [VaryField], status: Int, version: HTTPVersion?, lines: [UInt8], body: [UInt8],
    freshness: CacheFreshness, storedAt: Int64
  ) {
    self.key = key
    self.hash = hash
    self.vary = vary
    self.status = status
    self.version = version
    self.lines = lines
    self.body = body
    self.freshness = freshness
    self.storedAt = storedAt
    var brief: [UInt8] = []
    var etag: [UInt8]?
    var lastModified: [UInt8]?
    var modifiedAt: Int64?
    var date: Int64?
    let bytes = lines.span
    var begin = 0
    while begin < bytes.count {
      let line = bytes.fieldLine(at: begin)
      if bytes.reads("etag", at: line.name) { etag = etag ?? bytes.copy(line.value) }
      if bytes.reads("last-modified", at: line.name) {
        lastModified = lastModified ?? bytes.copy(line.value)
        modifiedAt = modifiedAt ?? HTTPDate.parse(bytes.extracting(line.value), now: storedAt)
      }
      if bytes.reads("date", at: line.name) {
        date = date ?? HTTPDate.parse(bytes.extracting(line.value), now: storedAt)
      }
      if !CacheFieldRules.describesBody(bytes, line.name) { brief += bytes.copy(begin..<line.end) }
      begin = line.end
    }
    briefLines = brief
    self.etag = etag
    self.lastModified = lastModified
    self.modifiedAt = modifiedAt ?? date
  }

  /// Whether an origin can be asked if it is still the same.
  var hasValidator: Bool { etag != nil || lastModified != nil }

  func matches(_ request: CacheRequest, _ head: HTTPRequestHead) -> Bool {
    request.hasKey(key, in: head) && vary.allSatisfy { $0.matches(head.fields) }
  }

  /// Bytes that it takes in memory, near enough: what it holds, and what holds it.
  var cost: Int {
    400 + key.count + lines.count + briefLines.count + body.count
      + vary.reduce(0) { $0 + 100 + $1.name.count + ($1.value?.count ?? 0) }
  }
}

/// Which fields of a response a shared cache keeps.
enum CacheFieldRules {
  /// Belong to one connection, or to one client.
  private static let neverStored: [StaticString] = [
    // RFC 9110, 7.6.1; RFC 9111, 3.1. Framing is written anew for every client.
    "connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
    // Counted anew for every answer.
    "age", "x-cache-status",
    // One client's.
    "set-cookie", "set-cookie2", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "authentication-info",
  ]
  private static let clients: [StaticString] = [
    "set-cookie", "set-cookie2", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "authentication-info",
  ]
  /// What a 304 must not change (RFC 9111, 3.2): they say how the stored body is to be read.
  private static let ofStoredBody: [StaticString] = ["content-encoding", "content-type", "content-range"]

  static func isStored(_ bytes: borrowing Span<UInt8>, _ name: Range<Int>) -> Bool {
    for unwanted in neverStored where bytes.reads(unwanted, at: name) { return false }
    return true
  }

  static func isClients(_ bytes: borrowing Span<UInt8>, _ name: Range<Int>) -> Bool {
    for own in clients where bytes.reads(own, at: name) { return true }
    return false
  }

  /// Metadata that a 304 does without, because the client has it (RFC 9110, 15.4.5).
  static func describesBody(_ bytes: borrowing Span<UInt8>, _ name: Range<Int>) -> Bool {
    name.count > 8 && bytes.reads("content-", at: name.lowerBound..<name.lowerBound + 8)
      && !bytes.reads("content-location", at: name)
  }

  /// The lines for which `isWanted` says yes.
  static func lines(
    of fields: HeaderFields, where isWanted: (borrowing Span<UInt8>, Range<Int>) -> Bool
  ) -> [UInt8] {
    fields.withWireBytes { bytes in
      var lines: [UInt8] = []
      var begin = 0
      while begin < bytes.count {
        let line = bytes.fieldLine(at: begin)
        if isWanted(bytes, line.name) { lines += bytes.copy(begin..<line.end) }
        begin = line.end
      }
      return lines
    }
  }

  /// The stored lines, brought up to date by those of a 304 (RFC 9111, 3.2).
  static func updated(_ stored: [UInt8], by fields: HeaderFields) -> [UInt8] {
    let new = lines(of: fields) { bytes, name in
      isStored(bytes, name) && !ofStoredBody.contains { bytes.reads($0, at: name) }
    }
    var names: [[UInt8]] = []
    var begin = 0
    while begin < new.count {
      let line = new.span.fieldLine(at: begin)
      names.append(line.name.map { new.span.lowercase(at: $0) })
      begin = line.end
    }
    var merged: [UInt8] = []
    begin = 0
    while begin < stored.count {
      let line = stored.span.fieldLine(at: begin)
      if !names.contains(where: { stored.span.reads($0, at: line.name) }) { merged += stored[begin..<line.end] }
      begin = line.end
    }
    return merged + new
  }
}
