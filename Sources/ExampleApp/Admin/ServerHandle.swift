import Synchronization
import Transports

/// The running server, for those of its parts that have to be there before it is.
final class ServerHandle: Sendable {
  private let server = Mutex<Server?>(nil)

  var current: Server? { server.withLock { $0 } }

  func set(_ new: Server?) { server.withLock { $0 = new } }
}
