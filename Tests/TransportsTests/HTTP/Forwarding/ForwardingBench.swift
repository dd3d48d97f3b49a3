import Pipeline

@testable import Transports

/// A request as the parser leaves it.
func requestHead(
  _ method: HTTPMethod, _ target: String, _ fields: [String], version: HTTPVersion = .http11
) -> HTTPRequestHead {
  var head = HTTPRequestHead(method: method, target: target)
  for field in fields { head.fields.append(line: Array(field.utf8).span) }
  head.version = version
  return head
}

func requestHead(_ fields: [String], version: HTTPVersion = .http11) -> HTTPRequestHead {
  requestHead(.get, "/", fields, version: version)
}

/// The address of a client, from text: an address with or without a port, or `unix`.
func clientAddress(_ text: String) -> ClientAddress {
  if text == "unix" { return ClientAddress(.unix(uid: 1000)) }
  if let ip = IPAddress(text) { return ClientAddress(.ip(ip, port: 0)) }
  guard case .ip(let ip, let port)? = SocketAddress(text) else { preconditionFailure("\(text) is no address") }
  return ClientAddress(.ip(ip, port: port))
}

/// One proxy: what comes in, and what goes out.
struct ForwardingBench {
  var options = HTTPOptions()
  var peer = clientAddress("192.0.2.7:4711")

  init(trusting proxies: [CIDR] = [], _ edit: (inout HTTPOptions) -> Void = { _ in }) {
    options.viaName = "sluice"
    options.trustedProxies = proxies
    edit(&options)
  }

  func client(of head: HTTPRequestHead) throws -> String {
    var head = head
    let forwarder = Forwarder(ForwardingRules(options), peer: peer)
    let client = try forwarder.receive(&head)
    return client.ip?.description ?? client.description
  }

  /// The lines that go to the origin.
  func forwarded(
    _ head: HTTPRequestHead, toStranger: Bool = false, toProxy: Bool = false, hasPrincipal: Bool = false
  ) throws -> [String] {
    var head = head
    let forwarder = Forwarder(ForwardingRules(options), peer: peer)
    _ = try forwarder.receive(&head)
    return lines(of: head, by: forwarder, toStranger: toStranger, toProxy: toProxy, hasPrincipal: hasPrincipal)
  }

  func lines(
    of head: HTTPRequestHead, by forwarder: Forwarder, toStranger: Bool = false, toProxy: Bool = false,
    hasPrincipal: Bool = false
  ) -> [String] {
    var out = ByteBuilder()
    var seen = RelayedField.Set()
    head.fields.withWireBytes { bytes in
      var line = FieldCursor()
      while line.next(in: bytes) {
        if forwarder.claim(bytes.extracting(line.name), &seen) { continue }
        out.append(copying: bytes.extracting(line.name))
        out.append(": ")
        out.append(copying: bytes.extracting(line.value))
        out.append("\r\n")
      }
    }
    forwarder.appendToRequest(
      &out, head, seen: seen, toStranger: toStranger, toProxy: toProxy, hasPrincipal: hasPrincipal)
    return String(decoding: out.bytes, as: UTF8.self).split(separator: "\r\n").map(String.init)
  }

  func respond(_ fields: [String], version: HTTPVersion = .http11, fromProxy: Bool = false) -> [String] {
    let forwarder = Forwarder(ForwardingRules(options), peer: peer)
    var out = ByteBuilder()
    for field in fields {
      let name = Array(field.prefix { $0 != ":" }.utf8)
      if !forwarder.claimsOfResponse(name.span, fromProxy: fromProxy) {
        out.append(contentsOf: Array("\(field)\r\n".utf8))
      }
    }
    forwarder.appendToResponse(&out, version: version, backend: "http://10.0.0.1:80")
    return String(decoding: out.bytes, as: UTF8.self).split(separator: "\r\n").map(String.init)
  }
}
