internal import Pipeline
internal import Synchronization

/// The users that may log in: a live table, shared by all loops.
///
/// A change takes effect with the next login: who was changed, blocked or removed is not let in on an answer that was
/// remembered from before, and a verification that is under way is not accepted any more. Connections that are open stay
/// open. Everything may be called from any thread; a look-up takes a lock of its own shard and allocates nothing.
public final class UserTable: Sendable {
  private final class Shard: Sendable {
    let accounts = Mutex<[[UInt8]: Account]>([:])
  }

  private let shards = (0..<16).map { _ in Shard() }
  private let changes = Atomic<UInt64>(0)
  private let decoy = Mutex<PasswordHash?>(nil)

  /// Hashes and verifies the passwords of this table.
  public let verifier: any PasswordVerifier

  /// Creates a table.
  ///
  /// - Throws: ``UserError`` for a record that breaks the rules, a name that stands twice, or a hash that the verifier
  ///   refuses.
  public init(verifier: any PasswordVerifier, _ users: [User] = []) throws {
    self.verifier = verifier
    try replaceAll(with: users)
  }

  /// Grows with every change. Whoever remembers an identity compares it, and asks again when it has moved.
  public var version: UInt64 { changes.load(ordering: .acquiring) }

  /// Adds a user, or replaces the one of the same name.
  ///
  /// - Throws: ``UserError``; the table is then as it was.
  public func set(_ user: User) throws {
    try check(user)
    put(user)
    changes.add(1, ordering: .releasing)
  }

  /// Removes a user; `false` when there is none of this name.
  @discardableResult public func remove(_ name: String) -> Bool {
    let removed = shard(of: Array(name.utf8)).accounts.withLock { $0.removeValue(forKey: Array(name.utf8)) }
    guard let removed else { return false }
    removed.retire()
    changes.add(1, ordering: .releasing)
    return true
  }

  /// Blocks a user; `false` when there is none of this name.
  @discardableResult public func block(_ name: String) -> Bool { setBlocked(name, true) }

  /// Lets a blocked user in again; `false` when there is none of this name.
  @discardableResult public func unblock(_ name: String) -> Bool { setBlocked(name, false) }

  /// Makes the table hold exactly these users: the reload of a file. Who is unchanged keeps the answer that was remembered.
  ///
  /// - Throws: ``UserError``; the table is then as it was.
  public func replaceAll(with users: [User]) throws {
    var names: Set<[UInt8]> = []
    for user in users {
      try check(user)
      guard names.insert(Array(user.name.utf8)).inserted else {
        throw UserError("user \"\(user.name)\" stands there twice: a name is allowed once")
      }
    }
    for user in users { put(user) }
    for shard in shards {
      let gone = shard.accounts.withLock { accounts in
        let gone = accounts.filter { !names.contains($0.key) }
        for name in gone.keys { accounts[name] = nil }
        return gone
      }
      for account in gone.values { account.retire() }
    }
    changes.add(1, ordering: .releasing)
  }

  /// The user of this name.
  public subscript(name: String) -> User? { account(named: Array(name.utf8))?.user }

  /// All users, by name.
  public var users: [User] {
    shards.flatMap { $0.accounts.withLock { $0.values.map(\.user) } }.sorted { $0.name < $1.name }
  }

  public var count: Int { shards.reduce(0) { $0 + $1.accounts.withLock { $0.count } } }

  // MARK: - For the authenticator

  func account(named name: [UInt8]) -> Account? { shard(of: name).accounts.withLock { $0[name] } }

  /// A hash to verify the passwords of unknown users against, so that they take as long as known ones: the hash that was
  /// set last, for it costs what the operator's hashes cost. Blocks when the table has never had a user.
  func decoyHash() throws -> PasswordHash {
    if let hash = decoy.withLock({ $0 }) { return hash }
    let hash = try verifier.hash(Array("decoy".utf8))
    decoy.withLock { $0 = hash }
    return hash
  }

  /// Drops remembered answers that are too old to be used.
  func forgetExpired(now: Instant) {
    for shard in shards {
      for account in shard.accounts.withLock({ Array($0.values) }) { account.forgetIfExpired(now: now) }
    }
  }

  // MARK: -

  private func shard(of name: [UInt8]) -> Shard { shards[Int(UInt(bitPattern: name.hashValue) % UInt(shards.count))] }

  private func check(_ user: User) throws {
    try user.check()
    do {
      try verifier.check(user.passwordHash)
    } catch {
      throw UserError("user \"\(user.name)\": \(error)")
    }
  }

  private func put(_ user: User) {
    let name = Array(user.name.utf8)
    let replaced = shard(of: name).accounts.withLock { accounts -> Account? in
      let old = accounts[name]
      if let old, old.user == user { return nil }
      accounts[name] = Account(user)
      return old
    }
    replaced?.retire()
    decoy.withLock { $0 = user.passwordHash }
  }

  private func setBlocked(_ name: String, _ isBlocked: Bool) -> Bool {
    let bytes = Array(name.utf8)
    let replaced = shard(of: bytes).accounts.withLock { accounts -> Account? in
      guard let old = accounts[bytes] else { return nil }
      var user = old.user
      user.isBlocked = isBlocked
      accounts[bytes] = Account(user)
      return old
    }
    guard let replaced else { return false }
    replaced.retire()
    changes.add(1, ordering: .releasing)
    return true
  }
}

extension UserTable: CustomReflectable {
  /// Shows nothing: a dump of a chain must not show hashes.
  public var customMirror: Mirror { Mirror(self, children: []) }
}
