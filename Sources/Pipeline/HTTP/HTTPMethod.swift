/// A request method (RFC 9110, 9). Case-sensitive.
public struct HTTPMethod: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  private enum Known: Hashable, Sendable {
    case get, head, post, put, delete, connect, options, trace, patch
    case other(String)
  }

  private let known: Known
  private init(_ known: Known) { self.known = known }

  public static let get = HTTPMethod(Known.get)
  public static let head = HTTPMethod(Known.head)
  public static let post = HTTPMethod(Known.post)
  public static let put = HTTPMethod(Known.put)
  public static let delete = HTTPMethod(Known.delete)
  public static let connect = HTTPMethod(Known.connect)
  public static let options = HTTPMethod(Known.options)
  public static let trace = HTTPMethod(Known.trace)
  public static let patch = HTTPMethod(Known.patch)

  /// The method of this name, known or not.
  public init(_ name: String) {
    switch name {
    case "GET": known = .get
    case "HEAD": known = .head
    case "POST": known = .post
    case "PUT": known = .put
    case "DELETE": known = .delete
    case "CONNECT": known = .connect
    case "OPTIONS": known = .options
    case "TRACE": known = .trace
    case "PATCH": known = .patch
    default: known = .other(name)
    }
  }

  /// The method that a request line names: bytes that a parser has found to be a token. Known ones allocate nothing.
  package init(_ bytes: Span<UInt8>) {
    func spells(_ name: StaticString) -> Bool {
      name.withUTF8Buffer { name in
        for i in 0..<name.count where bytes[i] != name[i] { return false }
        return true
      }
    }
    switch bytes.count {
    case 3 where spells("GET"): known = .get
    case 3 where spells("PUT"): known = .put
    case 4 where spells("POST"): known = .post
    case 4 where spells("HEAD"): known = .head
    case 5 where spells("PATCH"): known = .patch
    case 5 where spells("TRACE"): known = .trace
    case 6 where spells("DELETE"): known = .delete
    case 7 where spells("OPTIONS"): known = .options
    case 7 where spells("CONNECT"): known = .connect
    default: known = .other(bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) })
    }
  }

  public init(stringLiteral name: String) { self.init(name) }

  public var name: String {
    switch known {
    case .get: "GET"
    case .head: "HEAD"
    case .post: "POST"
    case .put: "PUT"
    case .delete: "DELETE"
    case .connect: "CONNECT"
    case .options: "OPTIONS"
    case .trace: "TRACE"
    case .patch: "PATCH"
    case .other(let name): name
    }
  }

  public var description: String { name }

  public static func == (a: HTTPMethod, b: HTTPMethod) -> Bool {
    if let bit = a.bit { return bit == b.bit }
    return b.bit == nil && a.name == b.name
  }

  static let known: [HTTPMethod] = [.get, .head, .post, .put, .delete, .connect, .options, .trace, .patch]

  /// One bit for each method that has a name of its own here.
  var bit: UInt16? {
    switch known {
    case .get: 1
    case .head: 2
    case .post: 4
    case .put: 8
    case .delete: 16
    case .connect: 32
    case .options: 64
    case .trace: 128
    case .patch: 256
    case .other: nil
    }
  }

  /// Its place in ``labels``: bounded, whatever clients send.
  package var place: Int { bit.map { $0.trailingZeroBitCount } ?? Self.known.count }

  /// The names of the known methods; then what every other is shown as, and what is shown where no method was read.
  package static let labels: [MetricLabel] =
    known.map { MetricLabel(configured: $0.name) } + ["other", "none"]

  /// Shows the name as it stands in a request line.
  package func withName(_ body: (Span<UInt8>) -> Void) { body(name.utf8.span) }

  /// Whether repeating the request has the effect of one (RFC 9110, 9.2.2).
  public var isIdempotent: Bool {
    switch known {
    case .get, .head, .put, .delete, .options, .trace: true
    case .post, .patch, .connect, .other: false
    }
  }
}
