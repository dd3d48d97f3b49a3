internal import Pipeline
internal import Synchronization

/// One state of one user. A change makes a new account and retires this one, and with it what was remembered of it: no
/// cache has to be searched, and none can be forgotten.
final class Account: Sendable {
  /// What is known from earlier logins. One user has one right password, so memory is bounded by the table.
  private struct Memory {
    /// The password that was found right, until when.
    var proof: (digest: PasswordDigest, expires: Instant)?
    /// From where it was given, the last ones first.
    var origins: [LoginKey] = []

    mutating func note(_ origin: LoginKey) {
      if origins.first == origin { return }
      origins.removeAll { $0 == origin }
      origins.insert(origin, at: 0)
      if origins.count > Account.originLimit { origins.removeLast() }
    }
  }

  /// From how many addresses a user logs in "usually".
  private static let originLimit = 4

  let user: UserTable.User
  let identity: AuthenticatedUser
  private let retired = Atomic<Bool>(false)
  private let memory = Mutex(Memory())

  init(_ user: UserTable.User) {
    self.user = user
    identity = AuthenticatedUser(Principal(user.name), roles: user.roles)
  }

  /// Whether the table holds another state of this user by now, or none.
  var isRetired: Bool { retired.load(ordering: .acquiring) }

  func retire() {
    retired.store(true, ordering: .releasing)
    memory.withLock { $0 = Memory() }
  }

  /// Whether these credentials were found right not long ago; if so, `origin` counts as one from which the user logs in.
  func isProven(_ digest: PasswordDigest, from origin: LoginKey, now: Instant) -> Bool {
    if isRetired { return false }
    return memory.withLock { memory in
      guard let proof = memory.proof, now < proof.expires, proof.digest == digest else { return false }
      memory.note(origin)
      return true
    }
  }

  /// Whether the user has logged in from there.
  func isUsual(_ origin: LoginKey) -> Bool { memory.withLock { $0.origins.contains(origin) } }

  /// Remembers that the credentials are right.
  func remember(_ digest: PasswordDigest, from origin: LoginKey, until expires: Instant) {
    memory.withLock { memory in
      // A change that came in between has retired the account, and nothing may be remembered of it.
      if isRetired { return }
      memory.proof = (digest, expires)
      memory.note(origin)
    }
  }

  func forgetIfExpired(now: Instant) {
    memory.withLock { memory in
      if let proof = memory.proof, proof.expires <= now { memory.proof = nil }
    }
  }
}
