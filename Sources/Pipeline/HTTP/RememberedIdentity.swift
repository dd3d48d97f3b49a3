/// What one authenticator answered on one connection. Belongs to the exchange, and so to its task.
final class RememberedIdentity<User: Identity> {
  let state: AnyObject
  private var credentials: [UInt8] = []
  private var version: UInt64 = 0
  private var expiry = Instant(nanoseconds: 0)
  private var user: User?

  init(state: AnyObject) { self.state = state }

  /// The user, when the bytes are equal, the authenticator's state has not changed and the answer has not expired. A
  /// changed state empties the entry.
  func user(for presented: borrowing Span<UInt8>, version: UInt64, now: Instant) -> User? {
    guard self.version == version, now < expiry else {
      forget()
      return nil
    }
    return isEqual(presented) ? user : nil
  }

  func set(_ user: User, for presented: borrowing Span<UInt8>, version: UInt64, until expiry: Instant) {
    credentials.removeAll(keepingCapacity: true)
    for i in 0..<presented.count { credentials.append(presented[i]) }
    self.version = version
    self.expiry = expiry
    self.user = user
  }

  private func forget() {
    for i in credentials.indices { credentials[i] = 0 }
    credentials.removeAll(keepingCapacity: true)
    user = nil
  }

  // Takes the same time wherever the first difference is, so that nobody finds a password byte by byte.
  private func isEqual(_ presented: borrowing Span<UInt8>) -> Bool {
    guard presented.count == credentials.count else { return false }
    var difference: UInt8 = 0
    for i in 0..<presented.count { difference |= presented[i] ^ credentials[i] }
    return difference == 0
  }
}
