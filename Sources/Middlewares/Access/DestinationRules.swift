public import Pipeline

/// Decides where clients may go: by name, port and address, for all or for each identity.
///
/// ```swift
/// DestinationRules(.deny(ports: 25...25), .allow(host: "db.internal", block: "10.2.0.0/16"))
/// DestinationRules(for: Employee.self) { employee in employee.isGuest ? guests : staff }
/// ```
/// The destination is resolved here, every address is checked on its own, and those that pass are the only ones that are
/// dialled: a name that resolves to something else a moment later changes nothing (no DNS rebinding). Of several
/// `DestinationRules`, an address must pass all.
///
/// What no rule names: on a listener that only this machine reaches everything is allowed, on others everything but private,
/// loopback, link-local (the metadata services of clouds) and special-purpose addresses. A rule that allows a name does not
/// open those either; one that names a block does.
///
/// The client is told `forbidden`; `nameNotFound` where a name has no address. Costs a look-up in the resolver's cache and
/// one pass over the rules for each address.
public struct DestinationRules<Needs: Need>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Exchange

  private let policy: @Sendable (Needs.Value, ListenerInfo) -> AddressPolicy
  private let shown: [Parameter]
  private var leavesNames = false

  /// Names are not resolved here but approved as names, for a way out whose last proxy resolves them: rules that name a block
  /// are passed over for them, and nobody here sees their addresses. A destination that resolves itself refuses such a name
  /// (`internalError`).
  public consuming func leavingNamesToFarProxy() -> Self {
    leavesNames = true
    return self
  }

  public func through(_ exchange: Exchange, _ needed: Needs.Value, next: Next) async throws -> Summary {
    let before = exchange.approved
    // What rules above have approved is checked as it is: to resolve once more could give other addresses.
    if let before {
      // A Unix socket was written down by the operator; no client can name one.
      guard let endpoint = before.endpoint else { return try await next() }
      let policy = policy(needed, exchange.listener)
      exchange.approved =
        try before.isName
        ? policy.approve(unresolved: endpoint) : policy.approve(endpoint, resolved: before.ipAddresses)
    } else if leavesNames {
      exchange.approved = try policy(needed, exchange.listener).approve(unresolved: try await exchange.destination())
    } else {
      let endpoint = try await exchange.destination()
      let resolved = try await exchange.resolve(endpoint.host)
      exchange.approved = try policy(needed, exchange.listener).approve(endpoint, resolved: resolved)
    }
    // A retry above comes by again and shall find the addresses of that time.
    defer { exchange.approved = before }
    return try await next()
  }

  public static var label: String { "destination-rules" }
  public var uses: Uses { .destination }
  public var parameters: [Parameter] {
    leavesNames ? shown + [Parameter("names", "left to the far proxy")] : shown
  }

  public func validate(into problems: inout Problems) {
    if problems.transport == "tcp" {
      problems.refuse(
        "a TCP client names no destination: use it on SOCKS5 or HTTP, and write the address in `to:` here")
    }
  }
}

extension DestinationRules where Needs == Anyone {
  /// The same rules for all clients, read from the top; the first that matches decides.
  ///
  /// - Parameter otherwise: what happens to an address that no rule names; `nil`: what the listener's address suggests.
  public init(_ rules: AddressPolicy.Rule..., otherwise: AddressPolicy.Otherwise? = nil) {
    self.init(rules, otherwise: otherwise)
  }

  /// The same rules for all clients, read from the top; the first that matches decides.
  ///
  /// - Parameter otherwise: what happens to an address that no rule names; `nil`: what the listener's address suggests.
  public init(_ rules: [AddressPolicy.Rule], otherwise: AddressPolicy.Otherwise? = nil) {
    shown =
      rules.map { Parameter("rule", "\($0)") } + [Parameter("otherwise", otherwise?.rawValue ?? "by the listener")]
    policy = { _, listener in
      AddressPolicy(rules, otherwise: otherwise ?? AddressPolicy.standard(for: listener).otherwise)
    }
  }

  /// This policy for all clients, on whatever listener.
  public init(_ policy: AddressPolicy) { self.init(policy.rules, otherwise: policy.otherwise) }
}

extension DestinationRules: Middleware where Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension DestinationRules {
  /// A policy for each identity; the authenticator above has to give exactly this type.
  ///
  /// - Parameter policy: runs on the loop for every exchange and must not block. It says itself what holds for addresses that no
  ///   rule names.
  public init<User: Identity>(for user: User.Type, policy: @escaping @Sendable (User) -> AddressPolicy)
  where Needs == Exactly<User> {
    shown = [Parameter("for", "\(User.self)")]
    self.policy = { user, _ in policy(user) }
  }
}

extension DestinationRules where Needs == SomeIdentity {
  /// A policy for each principal, whatever the authenticator above is.
  ///
  /// - Parameter policy: runs on the loop for every exchange and must not block. It says itself what holds for addresses that no
  ///   rule names.
  public init(forEach policy: @escaping @Sendable (Principal) -> AddressPolicy) {
    shown = [Parameter("for", "each principal")]
    self.policy = { principal, _ in policy(principal) }
  }
}

extension ApprovedDestination {
  fileprivate var ipAddresses: [IPAddress] {
    addresses.compactMap { address in
      if case .ip(let ip, _) = address { ip } else { nil }
    }
  }
}
