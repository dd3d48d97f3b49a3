internal import Pipeline

/// The preconditions of a client, judged by what is stored (RFC 9110, 13; RFC 9111, 4.3.2).
enum CacheConditions {
  static func weaklyEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool { opaque(a) == opaque(b) }

  private static func opaque(_ tag: [UInt8]) -> ArraySlice<UInt8> {
    tag.starts(with: [UInt8(ascii: "W"), UInt8(ascii: "/")]) ? tag[2...] : tag[...]
  }

  /// Whether the client has it already.
  static func isNotModified(
    _ request: CacheRequest, _ fields: HeaderFields, _ cached: CachedResponse
  ) -> Bool {
    fields.withWireBytes { bytes in
      if let list = request.ifNoneMatch { return lists(bytes, list, cached.etag) }
      guard let since = request.ifModifiedSince, let modifiedAt = cached.modifiedAt,
        let date = HTTPDate.parse(bytes.extracting(since), now: cached.storedAt)
      else { return false }
      return modifiedAt <= date
    }
  }

  /// Compares weakly (RFC 9110, 13.1.2).
  private static func lists(_ bytes: borrowing Span<UInt8>, _ list: Range<Int>, _ etag: [UInt8]?) -> Bool {
    if bytes.reads("*", at: list) { return true }
    guard let etag else { return false }
    let isWeak = etag.starts(with: [UInt8(ascii: "W"), UInt8(ascii: "/")])
    let skip = isWeak ? 2 : 0
    var i = list.lowerBound
    while i < list.upperBound {
      // A tag may contain commas; only its quotation marks bound it.
      guard bytes[i] == UInt8(ascii: "\"") else {
        i += 1
        continue
      }
      let begin = i
      i += 1
      while i < list.upperBound, bytes[i] != UInt8(ascii: "\"") { i += 1 }
      i = min(i + 1, list.upperBound)
      guard i - begin == etag.count - skip else { continue }
      var isEqual = true
      for k in 0..<i - begin where bytes[begin + k] != etag[skip + k] { isEqual = false }
      if isEqual { return true }
    }
    return false
  }

  /// Whether a range may be cut from this very representation (RFC 9110, 13.1.5): strong comparison.
  static func allowsRange(_ request: CacheRequest, _ fields: HeaderFields, _ cached: CachedResponse) -> Bool {
    guard let condition = request.ifRange else { return true }
    return fields.withWireBytes { bytes in
      if let etag = cached.etag, etag.first == UInt8(ascii: "\""), bytes.isEqual(etag, at: condition) { return true }
      return cached.lastModified.map { bytes.isEqual($0, at: condition) } ?? false
    }
  }
}

/// How a stored response answers one request.
struct CacheAnswer {
  enum Form: Equatable {
    case whole
    case notModified
    case part(Range<Int>)
    case unsatisfiable
  }

  let cached: CachedResponse
  let form: Form

  init(to request: CacheRequest, _ fields: HeaderFields, with cached: CachedResponse) {
    self.cached = cached
    guard cached.status == 200 else {
      form = .whole
      return
    }
    if request.isConditional, CacheConditions.isNotModified(request, fields, cached) {
      form = .notModified
    } else if let range = request.range, !request.isHead, CacheConditions.allowsRange(request, fields, cached) {
      form = Self.part(fields, range, of: cached.body.count)
    } else {
      form = .whole
    }
  }

  /// One range in bytes. Of several, and of what is no range, the whole is sent, as RFC 9110, 14.2 allows.
  private static func part(_ fields: HeaderFields, _ range: Range<Int>, of count: Int) -> Form {
    fields.withWireBytes { bytes in
      guard range.count > 6, bytes.reads("bytes=", at: range.lowerBound..<range.lowerBound + 6) else { return .whole }
      let spec = bytes.trimmed(range.lowerBound + 6..<range.upperBound)
      guard let dash = spec.first(where: { bytes[$0] == UInt8(ascii: "-") }) else { return .whole }
      let from = spec.lowerBound..<dash
      let to = dash + 1..<spec.upperBound
      if from.isEmpty {
        guard let suffix = bytes.decimal(at: to) else { return .whole }
        return suffix == 0 || count == 0 ? .unsatisfiable : .part(max(0, count - Int(suffix))..<count)
      }
      guard let first = bytes.decimal(at: from) else { return .whole }
      let last: Int64
      if to.isEmpty {
        last = .max
      } else if let end = bytes.decimal(at: to), end >= first {
        last = end
      } else {
        return .whole
      }
      guard first < count else { return .unsatisfiable }
      return .part(Int(first)..<Int(min(last, Int64(count - 1))) + 1)
    }
  }

  /// Makes the head; the fields that were there are gone.
  func fill(_ head: inout HTTPResponseHead, now: Instant) {
    head.origin = .local
    head.receivedVersion = cached.version
    head.fields.removeAll()
    switch form {
    case .whole:
      head.status = cached.status
      head.replaceBody(cached.body)
      // RFC 9110, 8.6.
      if cached.status == 204 { head.fields.remove("content-length") }
      head.fields.append(wireBytes: cached.lines)
    case .notModified:
      head.status = 304
      head.replaceBody([])
      head.fields.remove("content-length")
      head.fields.append(wireBytes: cached.briefLines)
    case .part(let range):
      head.status = 206
      head.replaceBody(Array(cached.body[range]))
      head.fields.append(wireBytes: cached.lines)
      head.fields.set("content-range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(cached.body.count)")
    case .unsatisfiable:
      head.status = 416
      head.replaceBody([])
      head.fields.set("content-range", "bytes */\(cached.body.count)")
    }
    head.fields.set("age", Int(cached.freshness.age(at: now) / CacheFreshness.second))
  }
}
