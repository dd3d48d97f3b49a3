import Pipeline

/// Where requests go: `http://HOST:PORT`, `tcp://HOST:PORT` or a Unix socket.
struct BackendAddress: Sendable, Hashable, CustomStringConvertible {
  enum Kind: String, Sendable {
    case http, tcp
  }

  let kind: Kind
  /// `host:port` or `unix:/path`.
  let address: String

  var description: String { "\(kind.rawValue)://\(address)" }

  private init(_ kind: Kind, _ address: String) {
    self.kind = kind
    self.address = address
  }

  static let allowed =
    "http://HOST:PORT (http://10.0.0.1:9001), tcp://HOST:PORT for raw TCP, or http://unix:/path; HOST:PORT alone is http"

  static func read(_ text: String) -> SettingReading<BackendAddress> {
    var kind = Kind.http
    var rest = text[...]
    let scheme = text.firstRange(of: "://")
    let isWithUser = text[(scheme?.upperBound ?? text.startIndex)...].prefix { !"/?#".contains($0) }.contains("@")
    if isWithUser {
      // It may hold a password, which no sentence repeats, and would stand in logs as part of the backend's name.
      return .refused("a backend's address holds no user and no password; leave out what stands before the @")
    }
    if let scheme {
      switch text[..<scheme.lowerBound].lowercased() {
      case "http": kind = .http
      case "tcp": kind = .tcp
      case "https", "tls":
        return .refused(
          "https:// is not there yet: name the backend's plain port with http://, or let a TLS proxy stand in between")
      default: return .notAllowed
      }
      rest = text[scheme.upperBound...]
    }
    if rest.hasPrefix("unix:") {
      return SocketAddress(String(rest)) == nil ? .notAllowed : .value(BackendAddress(kind, String(rest)))
    }
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    guard ["", "/"].contains(rest.dropFirst(authority.count)) else {
      return .refused(
        "a backend's address has no path: requests go there with the path that the client asked for; leave out what "
          + "stands behind HOST:PORT")
    }
    if let endpoint = Endpoint(String(authority)) {
      return endpoint.port == 0 ? .notAllowed : .value(BackendAddress(kind, endpoint.description))
    }
    // RFC 9110, 4.2.1: http without a port means 80.
    guard kind == .http, rest.startIndex != text.startIndex, let endpoint = Endpoint("\(authority):80") else {
      return .notAllowed
    }
    return .value(BackendAddress(kind, endpoint.description))
  }
}

/// One backend of the settings.
struct BackendSetting: Sendable, Hashable {
  var address: BackendAddress
  var weight: Int

  static let weights = 1...1000
  static let weightSyntax = SettingSyntax<Int>.count(weights)

  static let syntax = SettingSyntax<BackendSetting>(
    "list of backends", "URL[=WEIGHT]", allowed: BackendAddress.allowed,
    read: { text in
      var url = text
      var weight = 1
      if let equals = text.lastIndex(of: "=") {
        guard let number = readInt(String(text[text.index(after: equals)...]), in: weights) else {
          return .refused(
            "the weight behind = has to be a whole number, \(weights.lowerBound) to \(weights.upperBound)")
        }
        weight = number
        url = String(text[..<equals])
      }
      switch BackendAddress.read(url) {
      case .value(let address): return .value(BackendSetting(address: address, weight: weight))
      case .notAllowed: return .notAllowed
      case .refused(let why): return .refused(why)
      }
    }, show: { $0.weight == 1 ? "\($0.address)" : "\($0.address) (weight \($0.weight))" })

  private static let urlSyntax = SettingSyntax<BackendAddress>(
    "backend", "URL", allowed: BackendAddress.allowed, read: BackendAddress.read, show: { "\($0)" })

  /// `{url: …, weight: …}`.
  @Sendable static func assemble(_ item: SettingItem) throws -> BackendSetting {
    guard let url = item.fields.first(where: { $0.name == "url" }) else {
      throw SettingsProblems(sentences: ["\(item.origin.place): a backend without url; write url: http://HOST:PORT"])
    }
    let address = try urlSyntax.value(of: url.text)
    let weight = try item.fields.first { $0.name == "weight" }.map { try weightSyntax.value(of: $0.text) }
    return BackendSetting(address: address, weight: weight ?? 1)
  }
}
