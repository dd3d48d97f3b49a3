/// A chain and its destination, joined, on a transport and an address. `Program` leaves nothing unmet.
///
/// ```swift
/// Listener(.socks5, on: "127.0.0.1:8001", name: "socks") {
///   AccessLog()
///   PasswordAuth(users)
/// } to: {
///   Direct()
/// }
/// .idleTimeout(.seconds(60))
/// ```
public struct Listener<Carrier: TransportExchange, Program: ChainElement>: Proxy
where Program.Carrier == Carrier, Program.Needs: MetByNothing {
  /// The builder of the chain.
  public typealias Chained = ChainBuilder<Carrier>
  /// The builder of `to:`.
  public typealias Ended = DestinationBuilder<Carrier>

  public let transport: TransportKind<Carrier>
  /// `1.2.3.4:80`, `[::1]:80`, `:80` or `unix:/path`; read when the app starts.
  public let address: String
  /// For logs and metrics, and what a reload tells listeners apart by. The transport's name unless given.
  public var name: String
  public var options = ListenerOptions()
  var program: Program

  // Formed where every type is concrete (the user's module), so that they are specialised; the methods of a generic class
  // are not.
  let entry: @Sendable (Ready<Program>) -> @Sendable (Carrier) async throws -> Summary
  let phase: @Sendable (Ready<Program>, inout HTTPResponseHead, HTTPExchange) throws -> Void

  @usableFromInline package init(
    _ transport: TransportKind<Carrier>, _ address: String, _ name: String?, _ program: Program,
    _ entry: @escaping @Sendable (Ready<Program>) -> @Sendable (Carrier) async throws -> Summary,
    _ phase: @escaping @Sendable (Ready<Program>, inout HTTPResponseHead, HTTPExchange) throws -> Void
  ) {
    self.transport = transport
    self.address = address
    self.name = name ?? transport.name
    self.program = program
    self.entry = entry
    self.phase = phase
  }

  public func accept(_ visitor: inout some ListenerVisitor) throws { try visitor.visit(self) }
}

// The three ways in which a chain and a destination fit. Overloads of an `init` whose `where Program ==` differ are never
// ranked against each other, so they are disjoint.
extension Listener {
  /// The destination needs no identity.
  @inlinable public init<C: TransparentElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  ) where Program == Then<C, D>, C.Needs: MetByNothing, D.Needs: MetByNothing {
    self.init(
      transport, address, name, Then(chain(), destination()),
      { ready in
        { exchange in
          try await ready.program.through(exchange, Program.Needs.value) { throw exchange.nothingMatched() }
        }
      },
      { ready, head, exchange in try ready.program.respond(&head, on: exchange) })
  }

  /// The chain gives an identity, of whatever type; the destination may need one.
  @inlinable public init<C: ChainElement, D: TransparentElement, U>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  )
  where
    Program == ThenWithSome<C, D, U>, C.Gives == Identified<U>, C.Needs: MetByNothing, D.Needs: MetByAnyIdentity
  {
    self.init(
      transport, address, name, ThenWithSome(chain(), destination()),
      { ready in
        { exchange in
          try await ready.program.pass(exchange, Program.Needs.value) { _ in throw exchange.nothingMatched() }
        }
      },
      { ready, head, exchange in try ready.program.respond(&head, on: exchange) })
  }

  /// The chain gives the very identity type that the destination, or a route in it, needs.
  @inlinable public init<C: ChainElement, D: TransparentElement, U>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  )
  where Program == ThenWith<C, D, U>, C.Gives == Identified<U>, C.Needs: MetByNothing, D.Needs: MetByOneIdentity {
    self.init(
      transport, address, name, ThenWith(chain(), destination()),
      { ready in
        { exchange in
          try await ready.program.pass(exchange, Program.Needs.value) { _ in throw exchange.nothingMatched() }
        }
      },
      { ready, head, exchange in try ready.program.respond(&head, on: exchange) })
  }
}

extension Exchange {
  /// The way led past the last route.
  @usableFromInline func nothingMatched() -> Rejection {
    // Named only now: routes that split a path by method are passed on the way to the right one.
    if let http = self as? HTTPExchange, !http.allowed.isEmpty { annotate(.allowedMethods(http.allowed.names)) }
    if annotations.allowedMethods.isEmpty { return Rejection(.noRoute) }
    return Rejection(.methodNotAllowed, detail: "allowed: \(annotations.allowedMethods.joined(separator: ", "))")
  }
}
