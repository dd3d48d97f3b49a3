internal import Pipeline

/// Whether a response may be stored by a shared cache, and for how long it is fresh (RFC 9111, 3 and 4.2).
struct CacheDecision {
  /// What is known of the exchange besides the response.
  struct Circumstances {
    var hasAuthorization: Bool
    var settings: ResponseCache.Settings
    /// When the request went out and when the head came, and what the wall says now.
    var requestedAt: Instant
    var receivedAt: Instant
    var wallTime: Int64
  }

  /// `nil`: not to be stored.
  private(set) var freshness: CacheFreshness?
  /// The names that Vary lists, in lower case.
  private(set) var vary: [[UInt8]] = []
  private(set) var hasDate = false

  private var directives = CacheDirectives()
  private var expires: Int64?
  private var date: Int64?
  private var age: Int64 = 0
  private var lastModified: Int64?
  private var hasValidator = false
  private let wallTime: Int64
  private var variesByAll = false
  private var setsCookie = false

  /// More names than any origin needs make a cache that never hits.
  private static let maxVaryNames = 16

  init(status: Int, fields: HeaderFields, _ around: Circumstances) {
    wallTime = around.wallTime
    fields.withWireBytes { bytes in
      var begin = 0
      while begin < bytes.count {
        let line = bytes.fieldLine(at: begin)
        begin = line.end
        note(bytes, line)
      }
    }
    freshness = decide(status, around)
  }

  private mutating func note(_ bytes: borrowing Span<UInt8>, _ line: FieldLineParts) {
    switch line.name.count {
    case 3 where bytes.reads("age", at: line.name):
      // Several, or a list: the oldest counts.
      age = max(age, bytes.decimal(at: line.value) ?? 0)
    case 4 where bytes.reads("date", at: line.name):
      hasDate = true
      date = date ?? HTTPDate.parse(bytes.extracting(line.value), now: wallTime)
    case 4 where bytes.reads("vary", at: line.name): noteVary(bytes, line.value)
    case 4 where bytes.reads("etag", at: line.name): hasValidator = true
    // What is no date has expired, `0` above all (RFC 9111, 5.3).
    case 7 where bytes.reads("expires", at: line.name):
      expires = min(expires ?? .max, HTTPDate.parse(bytes.extracting(line.value), now: wallTime) ?? 0)
    case 10 where bytes.reads("set-cookie", at: line.name): setsCookie = true
    case 13 where bytes.reads("cache-control", at: line.name): directives.read(bytes, line.value)
    case 13 where bytes.reads("last-modified", at: line.name):
      hasValidator = true
      lastModified = lastModified ?? HTTPDate.parse(bytes.extracting(line.value), now: wallTime)
    default: break
    }
  }

  private mutating func noteVary(_ bytes: borrowing Span<UInt8>, _ value: Range<Int>) {
    var begin = value.lowerBound
    while begin < value.upperBound {
      var end = begin
      while end < value.upperBound, bytes[end] != UInt8(ascii: ",") { end += 1 }
      let name = bytes.trimmed(begin..<end)
      if bytes.reads("*", at: name) { variesByAll = true }
      let lower = name.map { bytes.lowercase(at: $0) }
      if !lower.isEmpty, !vary.contains(lower) { vary.append(lower) }
      begin = end + 1
    }
  }

  private func decide(_ status: Int, _ around: Circumstances) -> CacheFreshness? {
    let flags = directives.flags
    // `must-understand` takes `no-store` back for a cache that knows the status (RFC 9111, 5.2.2.3).
    let mayStore = !flags.contains(.noStore) || flags.contains(.mustUnderstand)
    guard Self.understood.contains(status), mayStore, !flags.contains(.isPrivate), !variesByAll,
      vary.count <= Self.maxVaryNames, !setsCookie || around.settings.setCookie == .strip
    else { return nil }
    if around.hasAuthorization {
      // RFC 9111, 3.5.
      guard flags.contains(.isPublic) || flags.contains(.mustRevalidate) || directives.sharedMaxAge != nil else {
        return nil
      }
    }
    guard let lifetime = lifetime(status, around) else { return nil }
    var freshness = CacheFreshness()
    freshness.lifetime = lifetime
    freshness.receivedAt = around.receivedAt
    freshness.initialAge = initialAge(around)
    freshness.alwaysRevalidates = flags.contains(.noCache)
    freshness.neverStale =
      flags.contains(.mustRevalidate) || flags.contains(.proxyRevalidate) || directives.sharedMaxAge != nil
    freshness.staleWhileRevalidate = Self.window(directives.staleWhileRevalidate, around.settings.staleWhileRevalidate)
    freshness.staleIfError = Self.window(directives.staleIfError, around.settings.staleIfError)
    // `s-maxage` means `proxy-revalidate` (5.2.2.10), but who also writes a stale window wants it used.
    if directives.staleWhileRevalidate != nil || directives.staleIfError != nil {
      freshness.neverStale = flags.contains(.mustRevalidate) || flags.contains(.proxyRevalidate)
    }
    let isOfUse =
      hasValidator || freshness.isEverFresh || freshness.staleIfError > 0 || freshness.staleWhileRevalidate > 0
    return isOfUse ? freshness : nil
  }

  private static func window(_ said: Int64?, _ otherwise: Duration) -> Int64 {
    said.map { $0 * CacheFreshness.second } ?? otherwise.nanosecondsClamped
  }

  /// Statuses whose meaning this cache knows: not 206 and 304, which are not whole, and no 5xx but 501.
  private static let understood: Set<Int> = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501]
  /// Those that may be kept without the origin's word (RFC 9110, 15.1), as far as that surprises nobody.
  private static let byDefault: Set<Int> = [200, 203, 204, 300, 301, 308]

  /// Nanoseconds; `nil`: nobody says that it may be kept.
  private func lifetime(_ status: Int, _ around: Circumstances) -> Int64? {
    if let seconds = directives.sharedMaxAge ?? directives.maxAge { return seconds * CacheFreshness.second }
    if let expires {
      return max(0, min(expires - (date ?? around.wallTime), 1 << 31)) * CacheFreshness.second
    }
    guard Self.byDefault.contains(status) else { return directives.flags.contains(.isPublic) ? 0 : nil }
    if around.settings.usesHeuristics, let lastModified {
      // RFC 9111, 4.2.2: a tenth of the time since it was changed; a day is the most that goes without a warning.
      let tenth = max(0, ((date ?? around.wallTime) - lastModified) / 10)
      return min(tenth, 86_400) * CacheFreshness.second
    }
    let ttl = around.settings.defaultTTL.nanosecondsClamped
    if ttl > 0, !directives.flags.contains(.noCache) { return ttl }
    // Only to be asked for again.
    return hasValidator ? 0 : nil
  }

  /// RFC 9111, 4.2.3.
  private func initialAge(_ around: Circumstances) -> Int64 {
    let apparent = date.map { max(0, around.wallTime - $0) } ?? 0
    let delay = (around.receivedAt - around.requestedAt).nanosecondsClamped
    return max(min(apparent, 1 << 31) * CacheFreshness.second, age * CacheFreshness.second + max(0, delay))
  }
}
