internal import Pipeline

/// One request that goes on to the origin through a cache. Belongs to its exchange, and so to one task.
final class CacheFetch {
  enum Purpose {
    /// What comes may be stored.
    case filling
    /// If it succeeds, what is stored under its target is no longer true (RFC 9111, 4.4).
    case changing
  }

  let store: CacheStore
  let purpose: Purpose
  let request: CacheRequest
  let key: [UInt8]
  /// The request's fields when it reached the cache: what Vary speaks of, and the client's own conditions.
  let fields: HeaderFields
  let flight: CacheFlight?
  let stale: CachedResponse?
  /// Of a cache further out.
  let outer: CacheFetch?

  private let settings: ResponseCache.Settings
  private let clock: WallClock
  private let startedAt: Instant
  private let epoch: UInt64
  /// Whether the origin is asked if `stale` is still the same; else its 304 is for the client.
  private var isConditional = false

  init(
    _ purpose: Purpose, _ cache: ResponseCache, _ request: CacheRequest, of exchange: HTTPExchange,
    flight: CacheFlight?, stale: CachedResponse?
  ) {
    self.purpose = purpose
    store = cache.store
    settings = cache.settings
    clock = cache.clock
    self.request = request
    key = flight?.target ?? request.key(in: exchange.request)
    fields = exchange.request.fields
    self.flight = flight
    self.stale = stale
    outer = exchange[CacheTrace.self].fetch
    startedAt = exchange.now
    epoch = cache.store.epoch(of: request.hash)
  }

  /// The fetch of this cache; elements further in may have caches, too.
  func own(of store: CacheStore) -> CacheFetch? { self.store === store ? self : outer?.own(of: store) }

  /// Puts our own conditions in place of the client's: what comes shall be of use to everybody.
  func prepare(_ request: inout HTTPRequestHead) {
    // What others cannot share is left to origin and client, with their own conditions.
    guard flight != nil || stale != nil else { return }
    request.fields.remove("if-none-match")
    request.fields.remove("if-modified-since")
    guard let stale, stale.hasValidator else { return }
    if let etag = stale.etag { request.fields.set("if-none-match", String(decoding: etag, as: UTF8.self)) }
    if let lastModified = stale.lastModified {
      request.fields.set("if-modified-since", String(decoding: lastModified, as: UTF8.self))
    }
    isConditional = true
  }

  // MARK: - The response

  /// Looks at the head of the response, stores what may be stored, and puts the stored response in its place where
  /// that is the answer.
  func see(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws -> CacheStatus? {
    switch purpose {
    case .changing:
      if (200..<400).contains(head.status) { invalidate(head.fields) }
      return nil
    case .filling: break
    }
    if head.status == 304, isConditional, let stale { return try revalidate(stale, &head, exchange) }
    if Self.isFailure(head.status), head.origin == .upstream, let stale = staleForError(exchange) {
      land(.notShared)
      answer(with: stale, &head, exchange)
      return .stale
    }
    fill(&head, exchange)
    return .miss
  }

  /// RFC 5861, 4.
  private static func isFailure(_ status: Int) -> Bool { status == 500 || (502...504).contains(status) }

  /// What is stale, where it may stand for an origin that fails. Not for a client that wants it fresh.
  func staleForError(_ exchange: HTTPExchange) -> CachedResponse? {
    guard let stale, !exchange.isDetached, stale.freshness.mayReplaceError(at: exchange.now),
      stale.freshness.verdict(at: exchange.now, request.directives) != .ask(isForced: true)
    else { return nil }
    return stale
  }

  private func invalidate(_ response: HeaderFields) {
    store.invalidate(request.hash)
    for name: HeaderName in ["location", "content-location"] {
      guard let location = response[name] else { continue }
      if let hash = CacheRequest.hash(of: Array(location.utf8), besides: key) { store.invalidate(hash) }
    }
  }

  private func decide(_ status: Int, _ fields: HeaderFields, _ exchange: HTTPExchange) -> CacheDecision {
    CacheDecision(
      status: status, fields: fields,
      .init(
        hasAuthorization: request.hasAuthorization, settings: settings, requestedAt: startedAt,
        receivedAt: exchange.now, wallTime: clock.now.seconds))
  }

  /// RFC 9111, 4.3.3 and 4.3.4.
  private func revalidate(
    _ stale: CachedResponse, _ head: inout HTTPResponseHead, _ exchange: HTTPExchange
  ) throws -> CacheStatus {
    if let etag = head.fields["etag"], let own = stale.etag, !CacheConditions.weaklyEqual(Array(etag.utf8), own) {
      store.remove(stale)
      throw Rejection(.upstreamProtocol, detail: "a 304 with another entity tag than the one that was asked about")
    }
    // The stored date would make it as old as it was before.
    if !head.fields.contains("date") { head.fields.set("date", HTTPDate.text(clock.now.seconds)) }
    var merged = HeaderFields()
    merged.append(wireBytes: CacheFieldRules.updated(stale.lines, by: head.fields))
    let decision = decide(stale.status, merged, exchange)
    guard let freshness = decision.freshness else {
      // It is still the same, but is not to be kept any longer.
      store.remove(stale)
      land(.notShared)
      answer(
        with: response(stale.status, stale.version, merged, stale.body, stale.freshness, stale.vary), &head, exchange)
      return .revalidated
    }
    let updated = response(stale.status, stale.version, merged, stale.body, freshness, vary(decision))
    insert(updated)
    answer(with: updated, &head, exchange)
    return .revalidated
  }

  private func fill(_ head: inout HTTPResponseHead, _ exchange: HTTPExchange) {
    // A response to our condition is whole; one to a client's own may be a 304 or 412.
    let decision = decide(head.status, head.fields, exchange)
    guard let freshness = decision.freshness, request.mayFill else { return giveUp(head.status, exchange) }
    if !decision.hasDate { head.fields.set("date", HTTPDate.text(clock.now.seconds)) }
    var kept = HeaderFields()
    kept.append(wireBytes: CacheFieldRules.lines(of: head.fields, where: CacheFieldRules.isStored))
    switch head.body {
    case .bytes(let body): insert(response(head.status, head.receivedVersion, kept, body, freshness, vary(decision)))
    case .relayed, .streamed:
      let (status, version) = (head.status, head.receivedVersion)
      let fields = vary(decision)
      // The exchange keeps the tap: the tap must not keep the exchange.
      let now = exchange.now
      let tap = CacheTap(
        limit: store.maxEntryBytes, before: exchange.tap,
        whole: { body in self.insert(self.response(status, version, kept, body, freshness, fields)) },
        tooLarge: { self.notShared(now) })
      exchange.tapResponseBody(tap)
    }
  }

  /// What came is not for others, and tells that what is stored is no longer true; a failure tells nothing.
  private func giveUp(_ status: Int, _ exchange: HTTPExchange) {
    if let stale, status < 500, status != 304, status != 412 { store.remove(stale) }
    if status < 500 { notShared(exchange.now) } else { land(.notShared) }
  }

  private func notShared(_ now: Instant) {
    if flight != nil { store.markNotShared(key, request.hash, until: now + ResponseCache.notSharedFor) }
    land(.notShared)
  }

  private func vary(_ decision: CacheDecision) -> [VaryField] {
    decision.vary.map { VaryField(name: $0, of: fields) }
  }

  private func response(
    _ status: Int, _ version: HTTPVersion?, _ kept: HeaderFields, _ body: [UInt8], _ freshness: CacheFreshness,
    _ vary: [VaryField]
  ) -> CachedResponse {
    let lines = kept.withWireBytes { $0.copy(0..<$0.count) }
    return CachedResponse(
      key: key, hash: request.hash, vary: vary, status: status, version: version, lines: lines, body: body,
      freshness: freshness, storedAt: clock.now.seconds)
  }

  private func insert(_ response: CachedResponse) {
    let isStored = store.insert(response, for: fields, since: epoch)
    // What is never fresh would send everybody who waits to the origin one after the other.
    land(isStored && response.freshness.isEverFresh ? .stored : .notShared)
  }

  private func answer(with cached: CachedResponse, _ head: inout HTTPResponseHead, _ exchange: HTTPExchange) {
    // What is this client's own goes to it all the same.
    let own = CacheFieldRules.lines(of: head.fields, where: CacheFieldRules.isClients)
    let answer = CacheAnswer(to: request, fields, with: cached)
    answer.fill(&head, now: exchange.now)
    head.fields.append(wireBytes: own)
  }

  // MARK: - The end

  /// Lets the others go on. Nothing happens where they do already.
  func land(_ outcome: CacheFlight.Outcome) {
    if let flight, !flight.hasLanded { store.land(flight, outcome) }
  }

  func fail(_ error: any Error) {
    if let rejection = error as? Rejection, ResponseCache.isOriginsFailure(rejection) {
      land(.failed(rejection))
    } else {
      land(.abandoned)
    }
  }
}

/// Collects a body on its way to the client, up to a limit.
final class CacheTap: BodyTap {
  private var body: [UInt8]? = []
  private let limit: Int
  /// Who listened before.
  private let before: (any BodyTap)?
  private let whole: ([UInt8]) -> Void
  private let tooLarge: () -> Void

  init(
    limit: Int, before: (any BodyTap)?, whole: @escaping ([UInt8]) -> Void, tooLarge: @escaping () -> Void
  ) {
    self.limit = limit
    self.before = before
    self.whole = whole
    self.tooLarge = tooLarge
  }

  func begin(_ body: HTTPResponseHead.Body) {
    before?.begin(body)
    // An element further out has put another body under the head that would be stored.
    if case .bytes = body { giveUp() }
  }

  func receive(_ bytes: RawSpan) {
    before?.receive(bytes)
    guard let count = body?.count else { return }
    if count + bytes.byteCount > limit { return giveUp() }
    // The span is valid for this call, and the bytes are copied within it.
    bytes.withUnsafeBytes { body?.append(contentsOf: $0) }
  }

  func finish(complete: Bool) {
    before?.finish(complete: complete)
    guard let whole = body else { return }
    body = nil
    if complete { self.whole(whole) }
  }

  private func giveUp() {
    guard body != nil else { return }
    body = nil
    tooLarge()
  }
}

/// What a cache knows of the exchange between `handle` and `respond`.
struct CacheTrace: ExchangeKey {
  static var defaultValue: CacheTrace { CacheTrace() }
  var fetch: CacheFetch?
  /// Of a request that the cache leaves alone.
  var status: CacheStatus?
}
