internal import Pipeline

/// What a cache has to know of a request, found in one pass over its fields, without a copy of anything.
///
/// The ranges are places in the request's own field lines: they hold while nobody edits them.
struct CacheRequest {
  /// What the request means to a cache.
  enum Use {
    /// It may be answered from what is stored.
    case reading
    /// It may change what is stored under its target (RFC 9111, 4.4).
    case changing
    /// Nothing of it concerns the cache.
    case passing
  }

  private(set) var use = Use.passing
  let isHead: Bool
  private(set) var directives = CacheDirectives()
  private(set) var hasAuthorization = false
  private(set) var ifNoneMatch: Range<Int>?
  private(set) var ifModifiedSince: Range<Int>?
  private(set) var range: Range<Int>?
  private(set) var ifRange: Range<Int>?
  /// Of the key; the same key always has the same one, and another key hardly ever.
  private(set) var hash: UInt64 = 0

  private var host: Range<Int>?
  /// Preconditions that only an origin can judge (RFC 9111, 4.3.2), or one that stands there twice.
  private var isForOrigin = false

  init(_ head: HTTPRequestHead, obeysClient: Bool) {
    isHead = head.method == .head
    var pragmaSaysNoCache = false
    head.fields.withWireBytes { bytes in
      var begin = 0
      while begin < bytes.count {
        let line = bytes.fieldLine(at: begin)
        begin = line.end
        note(bytes, line, &pragmaSaysNoCache)
      }
    }
    if pragmaSaysNoCache, !directives.flags.contains(.arePresent) { directives.flags.insert(.noCache) }
    if !obeysClient { directives.ignoreFreshnessDemands() }
    guard let hash = withKey(of: head, Self.hash) else { return }
    self.hash = hash
    switch head.method {
    case .get, .head: use = isForOrigin || head.body != .none ? .passing : .reading
    // RFC 9110, 9.2.1.
    case .options, .trace, .connect: use = .passing
    default: use = .changing
    }
  }

  private mutating func note(_ bytes: borrowing Span<UInt8>, _ line: FieldLineParts, _ pragmaSaysNoCache: inout Bool) {
    switch line.name.count {
    case 4 where bytes.reads("host", at: line.name): host = line.value
    case 5 where bytes.reads("range", at: line.name): range = only(range, line)
    case 6 where bytes.reads("pragma", at: line.name):
      if bytes.reads("no-cache", at: line.value) { pragmaSaysNoCache = true }
    // The client wants another protocol, and no page.
    case 7 where bytes.reads("upgrade", at: line.name): isForOrigin = true
    case 8 where bytes.reads("if-range", at: line.name): ifRange = only(ifRange, line)
    case 8 where bytes.reads("if-match", at: line.name): isForOrigin = true
    case 13 where bytes.reads("cache-control", at: line.name): directives.read(bytes, line.value)
    case 13 where bytes.reads("authorization", at: line.name): hasAuthorization = true
    case 13 where bytes.reads("if-none-match", at: line.name): ifNoneMatch = only(ifNoneMatch, line)
    case 17 where bytes.reads("if-modified-since", at: line.name): ifModifiedSince = only(ifModifiedSince, line)
    case 19 where bytes.reads("if-unmodified-since", at: line.name): isForOrigin = true
    default: break
    }
  }

  private mutating func only(_ former: Range<Int>?, _ line: FieldLineParts) -> Range<Int> {
    if former != nil { isForOrigin = true }
    return line.value
  }

  var isConditional: Bool { ifNoneMatch != nil || ifModifiedSince != nil }

  /// Whether what the origin answers may be stored, and may serve others who ask for the same.
  var mayFill: Bool { !isHead && range == nil && !directives.flags.contains(.noStore) }
}

// MARK: - The key

extension CacheRequest {
  /// Shows the two parts of the key: the authority, and the target from its path on. `nil` where there is no key: no
  /// host, another scheme than http, user information, a target without a path.
  ///
  /// The key is what an origin sees. The authority is compared in lower case and without `:80`; nothing else is put
  /// into a normal form: what an origin may tell apart (the order of a query, `%7E` and `~`), a cache must tell apart,
  /// too.
  private func withKey<Result>(
    of head: HTTPRequestHead, _ body: (_ authority: Span<UInt8>, _ target: Span<UInt8>) -> Result
  ) -> Result? {
    let target = head.targetBytes.span
    guard let path = pathBegin(head, target) else { return nil }
    let rest = target.extracting(path..<target.count)
    if let authority = head.authorityRange {
      guard target.reads("http:", at: 0..<Swift.min(5, target.count)) else { return nil }
      let authority = target.extracting(authority)
      guard let range = Self.withoutDefaultPort(authority) else { return nil }
      return body(authority.extracting(range), rest)
    }
    guard let host else { return nil }
    return head.fields.withWireBytes { fields -> Result? in
      let authority = fields.extracting(host)
      guard let range = Self.withoutDefaultPort(authority) else { return nil }
      return body(authority.extracting(range), rest)
    }
  }

  private func pathBegin(_ head: HTTPRequestHead, _ target: borrowing Span<UInt8>) -> Int? {
    let path = head.pathRange.lowerBound
    return path < target.count && target[path] == UInt8(ascii: "/") ? path : nil
  }

  private static func withoutDefaultPort(_ authority: borrowing Span<UInt8>) -> Range<Int>? {
    guard !authority.isEmpty else { return nil }
    for i in 0..<authority.count where authority[i] == UInt8(ascii: "@") { return nil }
    let end = authority.count
    return end > 3 && authority.reads(":80", at: end - 3..<end) ? 0..<end - 3 : 0..<end
  }

  /// By SipHash under the process's random key: nobody outside can make keys collide.
  private static func hash(_ authority: borrowing Span<UInt8>, _ target: borrowing Span<UInt8>) -> UInt64 {
    var hasher = Hasher()
    var word: UInt64 = 0
    var count = 0
    for i in 0..<authority.count { feed(authority.lowercase(at: i), &word, &count, &hasher) }
    for i in 0..<target.count { feed(target[i], &word, &count, &hasher) }
    hasher.combine(word)
    hasher.combine(count)
    return UInt64(bitPattern: Int64(hasher.finalize()))
  }

  private static func feed(_ byte: UInt8, _ word: inout UInt64, _ count: inout Int, _ hasher: inout Hasher) {
    word = word << 8 | UInt64(byte)
    count += 1
    if count & 7 == 0 {
      hasher.combine(word)
      word = 0
    }
  }

  /// Whether this is the key of the request with this head.
  func hasKey(_ key: [UInt8], in head: HTTPRequestHead) -> Bool {
    withKey(of: head) { authority, target in
      guard key.count == authority.count + target.count else { return false }
      for i in 0..<authority.count where authority.lowercase(at: i) != key[i] { return false }
      for i in 0..<target.count where target[i] != key[authority.count + i] { return false }
      return true
    } ?? false
  }

  /// `example.org:8080/path?query`.
  func key(in head: HTTPRequestHead) -> [UInt8] {
    withKey(of: head) { authority, target in
      var key: [UInt8] = []
      key.reserveCapacity(authority.count + target.count)
      for i in 0..<authority.count { key.append(authority.lowercase(at: i)) }
      for i in 0..<target.count { key.append(target[i]) }
      return key
    } ?? []
  }

  /// The key's hash of another target on the same host, for invalidation: an absolute URL or a path. `nil`: another
  /// host, or nothing that can be told.
  static func hash(of location: [UInt8], besides key: [UInt8]) -> UInt64? {
    guard let slash = key.firstIndex(of: UInt8(ascii: "/")) else { return nil }
    let authority = key[..<slash]
    var target = location[...]
    if target.first != UInt8(ascii: "/") || target.dropFirst().first == UInt8(ascii: "/") {
      // `http://host/path` or `//host/path`: the host must be the same (RFC 9111, 4.4).
      let scheme = Array("http:".utf8)
      if target.count > scheme.count, target.span.reads(scheme, at: 0..<5) {
        target = target.dropFirst(5)
      }
      guard target.starts(with: Array("//".utf8)) else { return nil }
      target = target.dropFirst(2)
      let named = Array(target.prefix { $0 != UInt8(ascii: "/") })
      guard named.span.reads(Array(authority), at: 0..<named.count) else { return nil }
      target = target.dropFirst(named.count)
    }
    if let fragment = target.firstIndex(of: UInt8(ascii: "#")) { target = target[..<fragment] }
    guard target.first == UInt8(ascii: "/") else { return nil }
    return hash(Array(authority).span, Array(target).span)
  }
}

extension CacheDirectives {
  /// What a client asks of freshness; `no-store` and `only-if-cached` stay.
  fileprivate mutating func ignoreFreshnessDemands() {
    flags.remove(.noCache)
    maxAge = nil
    minFresh = nil
    maxStale = nil
  }
}
