/// Sends the client elsewhere (RFC 9110, 15.4).
///
/// ```swift
/// Redirect(permanent: true, to: "https://{host}{path}{query}")
/// Route("/old/*rest", to: { Redirect(to: "/new/{*rest}{query}") })
/// Redirect(status: 303, to: "/done")
/// Redirect { request in "https://\(request.host ?? "example.org")/" }
/// ```
/// In a template stand `{host}` (without the port), `{path}`, `{query}` (with its `?`, nothing where there is none),
/// `{:name}` and `{*name}` (parameters of the routes above). What the client chose is written so that it stays in its place:
/// a parameter never ends its segment, and a path that begins with `//` never becomes a host. A `{host}` that the request
/// does not have is a 400.
public struct Redirect: Destination {
  private enum Part: Sendable {
    case literal(String)
    case host, path, query
    case parameter(String)
    case tail(String)
  }

  private enum Location: Sendable {
    case template([Part], text: String, problems: [String])
    case closure(@Sendable (HTTPRequestHead) -> String)
  }

  private let location: Location
  private let status: Int

  /// - Parameter permanent: 308 instead of 307. Both keep the method and the body.
  public init(permanent: Bool = false, to location: @escaping @Sendable (HTTPRequestHead) -> String) {
    self.location = .closure(location)
    status = permanent ? 308 : 307
  }

  /// - Parameter permanent: 308 instead of 307. Both keep the method and the body.
  public init(permanent: Bool = false, to template: String) {
    self.init(status: permanent ? 308 : 307, to: template)
  }

  /// - Parameter status: 301, 302, 303, 307 or 308. Browsers turn a POST into a GET after the first three.
  public init(status: Int, to template: String) {
    var (parts, problems) = Self.parts(of: template)
    if ![301, 302, 303, 307, 308].contains(status) {
      problems.append("the status \(status) is no redirect: 301, 302, 303, 307 and 308 are allowed")
    }
    location = .template(parts, text: template, problems: problems)
    self.status = status
  }

  public var parameters: [Parameter] {
    var parameters = [Parameter("status", String(status))]
    if case .template(_, let text, _) = location { parameters.append(Parameter("to", text)) }
    return parameters
  }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let target =
      switch location {
      case .template(let parts, _, _): try Self.render(parts, exchange)
      case .closure(let location): location(exchange.request)
      }
    return try await exchange.respond(status) { $0.fields.set("location", target) }
  }

  public func validate(into problems: inout Problems) {
    guard case .template(_, _, let wrong) = location else { return }
    for problem in wrong { problems.refuse(problem) }
  }

  // MARK: -

  private static func parts(of template: String) -> ([Part], problems: [String]) {
    var parts: [Part] = []
    var problems: [String] = []
    var rest = Substring(template)
    while let open = rest.firstIndex(of: "{") {
      if open > rest.startIndex { parts.append(.literal(String(rest[..<open]))) }
      guard let close = rest[open...].firstIndex(of: "}") else {
        problems.append("the location \"\(template)\" has a { without a }")
        return (parts, problems)
      }
      let name = rest[rest.index(after: open)..<close]
      switch name {
      case "host": parts.append(.host)
      case "path": parts.append(.path)
      case "query": parts.append(.query)
      case _ where name.first == ":" && name.count > 1: parts.append(.parameter(String(name.dropFirst())))
      case _ where name.first == "*" && name.count > 1: parts.append(.tail(String(name.dropFirst())))
      default:
        problems.append(
          "the location \"\(template)\" has {\(name)}: {host}, {path}, {query}, {:name} and {*name} are allowed")
      }
      rest = rest[rest.index(after: close)...]
    }
    if !rest.isEmpty { parts.append(.literal(String(rest))) }
    switch parts.first {
    case .literal, .path: break
    case nil: problems.append("the location is empty")
    case .host, .query, .parameter, .tail:
      // The client would choose the scheme, or be sent to a name below this page.
      problems.append("the location \"\(template)\" has to begin with a text (https://..., /...) or with {path}")
    }
    if !template.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) {
      problems.append("the location \"\(template)\" has a character that has to be percent-encoded")
    }
    return (parts, problems)
  }

  private static func render(_ parts: [Part], _ exchange: HTTPExchange) throws -> String {
    let request = exchange.request
    var out: [UInt8] = []
    for part in parts {
      switch part {
      case .literal(let text): out.append(contentsOf: text.utf8)
      case .host:
        guard let host = request.host, !host.isEmpty else {
          throw Rejection(.malformed, detail: "a redirect needs the host, and the request names none")
        }
        append(Array(host.utf8).span, besides: "[]:", to: &out)
      case .path: request.withPath { append($0, besides: "/:@", to: &out) }
      case .query:
        guard let query = request.query else { continue }
        out.append(UInt8(ascii: "?"))
        append(Array(query.utf8).span, besides: "/:@?", to: &out)
      case .parameter(let name): exchange.captures.withRaw(name) { append($0, besides: "", to: &out) }
      case .tail(let name): exchange.captures.withRaw(name) { append($0, besides: "/:@", to: &out) }
      }
    }
    // `//host` names another host, and browsers read `\` as `/`. A template that wants that says so in its own text.
    if case .literal(let text) = parts.first, text.hasPrefix("//") { return String(decoding: out, as: UTF8.self) }
    if out.first == UInt8(ascii: "/") {
      let slashes = out.prefix { $0 == UInt8(ascii: "/") }.count
      out.removeFirst(slashes - 1)
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// Appends what may stand in a segment (RFC 3986, 3.3), percent-encodes the rest and leaves alone what is encoded.
  private static func append(_ text: borrowing Span<UInt8>, besides more: StaticString, to out: inout [UInt8]) {
    let hex: StaticString = "0123456789ABCDEF"
    for i in 0..<text.count {
      let byte = text[i]
      let isPlain =
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
          UInt8(ascii: "~"), UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "'"),
          UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: ","),
          UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: "%"):
          true
        default: more.withUTF8Buffer { $0.contains(byte) }
        }
      if isPlain {
        out.append(byte)
      } else {
        out.append(UInt8(ascii: "%"))
        hex.withUTF8Buffer { digits in
          out.append(digits[Int(byte >> 4)])
          out.append(digits[Int(byte & 15)])
        }
      }
    }
  }
}
