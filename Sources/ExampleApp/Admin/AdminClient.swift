import Glibc
import JWTAuthentication

/// Asks a running server through its admin socket. Blocks; for commands.
struct AdminClient {
  private static let longestAnswer = 64 << 20
  private static let patience = 20

  let path: String

  /// What the server said.
  struct Answer {
    var status: Int
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
  }

  /// One request.
  ///
  /// - Parameter target: path and query; what is variable in it is percent-encoded already.
  /// - Returns: `nil` when no server runs: there is no socket, or nobody answers it.
  /// - Throws: ``AdminError`` when there is one and it cannot be asked.
  func send(_ method: String, _ target: String) throws -> Answer? {
    let socket = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { throw AdminError("the admin socket \(path) cannot be used: \(reason())") }
    defer { close(socket) }
    _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
    // A server that hangs must not hang its operator.
    var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(socket, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard connect(socket) else {
      switch errno {
      case ENOENT, ECONNREFUSED, ENOTDIR: return nil
      case EACCES, EPERM: throw AdminError("the admin socket \(path) belongs to another user")
      default: throw AdminError("the admin socket \(path) cannot be used: \(reason())")
      }
    }
    let request = "\(method) \(target) HTTP/1.1\r\nhost: sluice\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    try write(Array(request.utf8), to: socket)
    return try Self.answer(in: try readToEnd(of: socket), from: path)
  }

  /// The value of an answer of status 200.
  ///
  /// - Throws: ``AdminError`` with the server's sentence for any other status.
  func fetch<Value: AdminAnswer>(_ type: Value.Type, _ target: String, method: String = "GET") throws -> Value? {
    guard let answer = try send(method, target) else { return nil }
    return try Self.value(type, of: answer)
  }

  static func value<Value: AdminAnswer>(_ type: Value.Type, of answer: Answer) throws -> Value {
    guard answer.status == 200 else {
      throw AdminError(
        Self.sentence(in: answer) ?? "the server answered with status \(answer.status)", status: answer.status)
    }
    do {
      return try type.init(JSONMembers(JSONValue(parsing: answer.body)))
    } catch {
      throw AdminError("the server's answer is not understood; is it of another version? (\(error))")
    }
  }

  /// What the server says; `nil` where its answer is not ours, and the status has to do.
  private static func sentence(in answer: Answer) -> String? {
    do {
      return try JSONValue(parsing: answer.body).object?["error"]?.string
    } catch {
      return nil
    }
  }

  /// A text as one segment of a path (RFC 3986, 3.3).
  static func segment(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "~"):
        out.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        out += "%" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return out
  }

  // MARK: -

  private func connect(_ socket: Int32) -> Bool {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // The path was checked to fit, with its NUL.
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
  }

  private func write(_ bytes: [UInt8], to socket: Int32) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw AdminError("the server at \(path) went away: \(reason())") }
      sent += count
    }
  }

  private func readToEnd(of socket: Int32) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = recv(socket, &piece, piece.count, 0)
      if count < 0, errno == EINTR { continue }
      if count == 0 { return bytes }
      guard count > 0 else {
        throw AdminError(
          errno == EAGAIN
            ? "the server at \(path) did not answer within \(Self.patience) seconds"
            : "the server at \(path) went away: \(reason())")
      }
      bytes += piece[..<count]
      guard bytes.count <= Self.longestAnswer else { throw AdminError("the server's answer is too long") }
    }
  }

  /// The admin socket answers with a length, and ends the connection as it was asked to.
  static func answer(in bytes: [UInt8], from path: String) throws -> Answer {
    let end = Array("\r\n\r\n".utf8)
    guard let split = bytes.firstRange(of: end) else { throw AdminError("the server at \(path) went away") }
    let lines = String(decoding: bytes[..<split.lowerBound], as: UTF8.self).split(separator: "\r\n")
    let words = (lines.first ?? "").split(separator: " ")
    guard words.count >= 2, words[0] == "HTTP/1.1", let status = Int(words[1]) else {
      throw AdminError("what answers at \(path) is no server of ours")
    }
    let length = lines.dropFirst().lazy.compactMap { line -> Int? in
      let field = line.split(separator: ":", maxSplits: 1)
      guard field.count == 2, field[0].lowercased() == "content-length" else { return nil }
      return Int(field[1].drop { $0 == " " })
    }.first
    let body = Array(bytes[split.upperBound...])
    guard length == body.count else { throw AdminError("the server at \(path) went away in the middle of its answer") }
    return Answer(status: status, body: body)
  }

  private func reason() -> String { String(cString: strerror(errno)) }
}

/// Why a running server could not be asked, or what it refused.
struct AdminError: Error, CustomStringConvertible {
  let description: String
  /// Of the answer, where there was one.
  var status: Int?

  init(_ description: String, status: Int? = nil) {
    self.description = description
    self.status = status
  }
}
