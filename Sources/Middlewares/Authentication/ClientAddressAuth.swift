public import Pipeline

/// Knows clients by where they come from: an address block, or the user id of a peer on a Unix socket.
///
/// ```swift
/// ClientAddressAuth(.block("10.1.0.0/16", as: "office"), .block("::1", as: "here"), .unix(uid: 33, as: "web"))
/// ```
/// The rules are read from the top, the first that matches decides. Who matches none is told `forbidden`. An address can be
/// trusted as far as the network that it comes through: never let a block reach over a NAT or a proxy that strangers use.
/// A look-up compares the rules one after another and allocates nothing.
public struct ClientAddressAuth: Authenticator {
  /// Which clients get which name.
  public struct Rule: Sendable {
    fileprivate enum Match: Sendable, Hashable {
      case block(CIDR)
      case unix(uid: UInt32?)
    }

    fileprivate let match: Match
    fileprivate let user: AuthenticatedUser

    private init(_ match: Match, _ name: String, _ roles: Set<String>) {
      precondition(!name.isEmpty, "the name of a client address rule is empty: use 1 or more characters")
      self.match = match
      user = AuthenticatedUser(Principal(name), roles: roles)
    }

    /// Clients with an address in this block.
    public static func block(_ block: CIDR, as name: String, roles: Set<String> = []) -> Rule {
      Rule(.block(block), name, roles)
    }

    /// Peers on a Unix socket that run as this user.
    public static func unix(uid: UInt32, as name: String, roles: Set<String> = []) -> Rule {
      Rule(.unix(uid: uid), name, roles)
    }

    /// Every peer on a Unix socket: whom the mode of the socket's file lets in.
    public static func anyUnixPeer(as name: String, roles: Set<String> = []) -> Rule {
      Rule(.unix(uid: nil), name, roles)
    }

    fileprivate func matches(_ client: ClientAddress) -> Bool {
      switch (match, client.kind) {
      case (.block(let block), .ip(let address, _)): block.contains(address)
      case (.unix(let uid), .unix(let peer)): uid == nil || uid == peer
      case (.block, .unix), (.unix, .ip): false
      }
    }
  }

  private let rules: [Rule]

  /// Creates an authenticator from rules that are read from the top.
  public init(_ rules: Rule...) { self.init(rules) }

  /// Creates an authenticator from rules that are read from the top.
  public init(_ rules: [Rule]) { self.rules = rules }

  public func authenticate(_ exchange: Exchange) async throws -> AuthenticatedUser {
    for rule in rules where rule.matches(exchange.client) { return rule.user }
    throw Rejection(.forbidden, detail: "no rule names the client address \(exchange.client)")
  }

  public var parameters: [Parameter] {
    rules.map { rule in
      switch rule.match {
      case .block(let block): Parameter("\(block)", rule.user.principal.id)
      case .unix(let uid?): Parameter("unix:uid=\(uid)", rule.user.principal.id)
      case .unix(nil): Parameter("unix", rule.user.principal.id)
      }
    }
  }

  public func validate(into problems: inout Problems) {
    if rules.isEmpty { problems.refuse("it has no rule, so nobody could pass: name a block or a Unix user") }
    var seen: Set<Rule.Match> = []
    for rule in rules where !seen.insert(rule.match).inserted {
      problems.note("client-address-auth: the rule for \(rule.user.principal.id) matches what one above it matches")
    }
  }
}
