internal import CShim
internal import Glibc
internal import Pipeline
internal import Synchronization

/// Asks for the addresses of a name. May block: it runs on the offload pool, never on a loop.
protocol NameLookup: Sendable {
  func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer
}

/// The system's resolver: /etc/hosts, DNS, whatever nsswitch says. Names no times.
struct SystemLookup: NameLookup {
  func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    // No AAAA answers on a machine without IPv6 (RFC 3493, 6.1).
    hints.ai_flags = Int32(AI_ADDRCONFIG)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name.text, nil, &hints, &list)
    guard code == 0 else {
      // EAI_NODATA: the name exists but has no address. Glibc shows it only to GNU sources.
      let noData: Int32 = -5
      throw code == EAI_NONAME || code == noData ? .notFound : .temporary(code)
    }
    defer { freeaddrinfo(list) }
    var addresses: [IPAddress] = []
    var next = list
    while let entry = next {
      next = entry.pointee.ai_next
      guard let raw = entry.pointee.ai_addr else { continue }
      var storage = sockaddr_storage()
      let length = min(Int(entry.pointee.ai_addrlen), MemoryLayout<sockaddr_storage>.size)
      withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: length)) }
      guard case .ip(let address, _)? = SocketAddress(&storage, length: socklen_t(length)),
        !addresses.contains(address)
      else { continue }
      addresses.append(address)
    }
    return LookupAnswer(addresses: addresses)
  }
}

/// Names to addresses for all loops: a cache in front of a `NameLookup` on the offload pool. However many connections ask
/// for one name at once, it is looked up once.
///
/// The lock is held for a table look-up only, never while anything waits.
final class Resolver: Sendable {
  /// One task that waits for a name.
  fileprivate final class Waiter: LoopMessage, @unchecked Sendable {
    // Sound as Sendable: `outcome` is written before `post`, which orders it before the loop's read.
    private let task: any ParkedTask
    var ticket: UInt64 = 0
    /// Nil: no thread was free to ask.
    private(set) var outcome: ResolverCache<Waiter>.Outcome?

    init(_ task: any ParkedTask) { self.task = task }

    func come(with outcome: ResolverCache<Waiter>.Outcome?) {
      self.outcome = outcome
      task.loop.post(self)
    }

    func received(on loop: Loop) { task.workEnded(ticket) }
  }

  private let lookup: any NameLookup
  private let pool: OffloadPool
  private let clock: @Sendable () -> Instant
  private let cache: Mutex<ResolverCache<Waiter>>

  init(
    _ lookup: any NameLookup = SystemLookup(), caching: ResolverCaching = ResolverCaching(), pool: OffloadPool,
    clock: @escaping @Sendable () -> Instant = { Loop.preciseNow }
  ) {
    self.lookup = lookup
    self.pool = pool
    self.clock = clock
    cache = Mutex(ResolverCache(caching))
  }

  /// The addresses of a name, in the order in which to try them. To be called by the task.
  ///
  /// - Throws: `Rejection(.nameNotFound)`; `.overloaded` when no thread is free to ask; what ends a wait.
  func resolve(_ name: DomainName, for task: some ParkedTask) async throws -> [IPAddress] {
    if let addresses = Self.withoutAsking(name) { return addresses }
    if let outcome = cache.withLock({ $0.recall(name, now: clock()) }) { return try Self.addresses(name, outcome) }
    let waiter = Waiter(task)
    try await task.awaitWork { ticket in
      waiter.ticket = ticket
      ask(name, waiter)
      return true
    }
    guard let outcome = waiter.outcome else {
      throw Rejection(.overloaded, detail: "no thread is free to look \(name) up")
    }
    return try Self.addresses(name, outcome)
  }

  /// `localhost` and the names below it never leave this machine (RFC 6761, 6.3).
  static func withoutAsking(_ name: DomainName) -> [IPAddress]? {
    name.isWithin("localhost") ? [.loopbackV4, .loopbackV6] : nil
  }

  private static func addresses(_ name: DomainName, _ outcome: ResolverCache<Waiter>.Outcome) throws -> [IPAddress] {
    switch outcome {
    case .success(let addresses):
      return addresses
    case .failure(.notFound):
      throw Rejection(.nameNotFound, detail: name.text)
    case .failure(.temporary(let code)):
      let said = String(cString: gai_strerror(code))
      throw Rejection(
        .nameNotFound, retry: .safe, detail: "\(name): \(said)", cause: LookupFailure.temporary(code))
    }
  }

  private func ask(_ name: DomainName, _ waiter: Waiter) {
    switch cache.withLock({ $0.ask(name, now: clock(), waiter) }) {
    case .known(let outcome):
      waiter.come(with: outcome)
    case .joined:
      break
    case .lookUp:
      if pool.submit(Lookup(name, self)) { return }
      for waiter in cache.withLock({ $0.abandon(name) }) { waiter.come(with: nil) }
    }
  }

  /// One look-up on a thread of the pool.
  private final class Lookup: OffloadWork {
    let name: DomainName
    let resolver: Resolver

    init(_ name: DomainName, _ resolver: Resolver) {
      self.name = name
      self.resolver = resolver
    }

    func perform() {
      let result = Result { () throws(LookupFailure) in try resolver.lookup.addresses(of: name) }
      let (outcome, waiters) = resolver.cache.withLock { $0.complete(name, result, now: resolver.clock()) }
      for waiter in waiters { waiter.come(with: outcome) }
    }
  }
}
