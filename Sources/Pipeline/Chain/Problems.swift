/// What speaks against a chain, collected while it is placed, before anything listens.
public struct Problems: Sendable {
  /// "tcp", "socks5", "http"; "any" where it is not known.
  public let transport: String
  /// The components above the one that is validated, outermost first; in a route, those above the route, too.
  public internal(set) var above: [any Component] = []
  /// Why the chain cannot run.
  public private(set) var messages: [String] = []
  /// What somebody should know, though the chain runs.
  public private(set) var notes: [String] = []
  var element = ""

  init(transport: String) { self.transport = transport }

  /// The chain cannot run: say what is wrong and what to change, in one sentence.
  public mutating func refuse(_ message: String) { messages.append("\(element): \(message)") }

  /// The chain can run, but somebody should know.
  public mutating func note(_ message: String) {
    if !notes.contains(message) { notes.append(message) }
  }

  /// Whether the component stands in a route.
  public var isInRoute: Bool { above.contains { $0 is any RouteElement } }

  /// The nearest component of this type above, through `.named` and `.shadow`.
  public func nearest<C: Component>(_ type: C.Type) -> C? {
    for component in above.reversed() {
      if let found = (component as? C) ?? (core(of: component) as? C) { return found }
    }
    return nil
  }

  /// Compares what a component reads with what the transport carries and with what stands above.
  mutating func checkUses(of component: any Component) {
    let uses = component.uses
    switch transport {
    case "tcp":
      if uses.contains(.password) { refuse("a TCP connection carries no password") }
      if uses.contains(.body) { refuse("a TCP connection has no message body: use it in a Listener(.http, ...)") }
    case "socks5":
      if uses.contains(.password), let early = above.first(where: { $0.uses.contains(.destination) }) {
        refuse(
          "\(type(of: early).label) above it uses the destination, which a SOCKS5 client names only after "
            + "authentication: move it below the authenticator")
      }
      if uses.contains(.body) { refuse("a SOCKS5 connection has no message body: use it in a Listener(.http, ...)") }
    default: break
    }
  }
}
