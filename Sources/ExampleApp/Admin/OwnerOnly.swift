import Glibc
import Pipeline

/// Lets pass whose user id, by the kernel's word, is the server's own or root's. Everybody else is refused with 403, and a line in
/// the log.
///
/// The mode of the socket's file keeps others out already: this is for a file whose mode somebody has changed, and for a
/// listener that is no Unix socket by mistake.
struct OwnerOnly: Middleware {
  let owner: UInt32

  init(owner: UInt32 = geteuid()) { self.owner = owner }

  var parameters: [Parameter] { [Parameter("uid", owner == 0 ? "0" : "\(owner), 0")] }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    guard isOwner(exchange.client) else {
      exchange.runtime.log(.warning, "\(exchange.listener.name): \(exchange.client) was refused: it is not the owner")
      throw Rejection(.forbidden, detail: "\(exchange.client) is neither the owner nor root")
    }
    return try await next()
  }

  func isOwner(_ client: ClientAddress) -> Bool {
    switch client.kind {
    case .unix(let uid): uid == owner || uid == 0
    case .ip: false
    }
  }
}
