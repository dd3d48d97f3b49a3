import Pipeline
import Testing

@testable import Transports

/// What a parser made of some bytes, in a form that two runs can be compared by and a failure can be read in.
enum Parsed: Equatable, CustomStringConvertible {
  case incomplete
  case head(String, length: Int)
  case refused(Rejection.Kind, String)

  var description: String {
    switch self {
    case .incomplete: "incomplete"
    case .head(let text, let length): "\(length) bytes: \(text)"
    case .refused(let kind, let detail): "\(kind): \(detail)"
    }
  }

  init(_ error: any Error) {
    let rejection = Rejection(error)
    self = .refused(rejection.kind, rejection.detail)
  }

  /// Gives the parser longer and longer prefixes, as a connection does, each in memory of its own.
  ///
  /// - Parameter ends: of the prefixes; the last one is the whole.
  static func request(_ bytes: [UInt8], ends: [Int]? = nil, _ options: HTTPOptions = HTTPOptions()) -> Parsed {
    var parser = RequestHeadParser(options)
    var head = HTTPRequestHead(method: .get, target: "")
    var framing = RequestFraming()
    return request(bytes, ends: ends, by: &parser, &head, &framing)
  }

  /// The same by a parser that may have parsed before, and was reset.
  static func request(
    _ bytes: [UInt8], ends: [Int]? = nil, by parser: inout RequestHeadParser, _ head: inout HTTPRequestHead,
    _ framing: inout RequestFraming
  ) -> Parsed {
    do {
      for end in ends ?? [bytes.count] {
        let received = Array(bytes[..<end])
        let progress = try received.withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
        if case .complete(let length) = progress {
          // Where the parser says that `host` stands is where a search finds it, whatever the head looks like.
          let noted = head.fields.withHost(string)
          let found = head.fields.withValue(of: "host", string)
          if noted != found { Issue.record("host: \(noted ?? "none"), not \(found ?? "none")") }
          return .head(describe(head, framing), length: length)
        }
      }
      return .incomplete
    } catch {
      return Parsed(error)
    }
  }

  private static func string(_ bytes: Span<UInt8>?) -> String? {
    guard let bytes else { return nil }
    return bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
  }

  static func request(_ text: String, _ options: HTTPOptions = HTTPOptions()) -> Parsed {
    request(Array(text.utf8), options)
  }

  static func response(
    _ bytes: [UInt8], to method: HTTPMethod = .get, ends: [Int]? = nil, _ options: HTTPOptions = HTTPOptions()
  ) -> Parsed {
    var parser = ResponseHeadParser(options)
    var head = HTTPResponseHead()
    return response(bytes, to: method, ends: ends, by: &parser, &head)
  }

  /// The same by a parser that may have parsed before, and was reset.
  static func response(
    _ bytes: [UInt8], to method: HTTPMethod = .get, ends: [Int]? = nil, by parser: inout ResponseHeadParser,
    _ head: inout HTTPResponseHead
  ) -> Parsed {
    var framing = ResponseFraming()
    do {
      for end in ends ?? [bytes.count] {
        let received = Array(bytes[..<end])
        let progress = try received.withUnsafeBytes { try parser.parse($0, for: method, into: &head, &framing) }
        if case .complete(let length) = progress {
          return .head(describe(head, framing), length: length)
        }
      }
      return .incomplete
    } catch {
      return Parsed(error)
    }
  }

  static func response(
    _ text: String, to method: HTTPMethod = .get, _ options: HTTPOptions = HTTPOptions()
  ) -> Parsed {
    response(Array(text.utf8), to: method, options)
  }

  private static func describe(_ head: HTTPRequestHead, _ framing: RequestFraming) -> String {
    var text = "\(head.method) \(head.target) \(head.version.rawValue) \(describe(head.fields)) "
    switch head.body {
    case .none: text += "none"
    case .bytes(let length): text += "\(length)"
    case .unknown: text += "chunked"
    }
    if !framing.keepsAlive { text += " closes" }
    if framing.expectsContinue { text += " expects" }
    if framing.wantsUpgrade { text += " upgrades" }
    if framing.acceptsTrailers { text += " trailers" }
    if !framing.hasHost { text += " hostless" }
    return text
  }

  private static func describe(_ head: HTTPResponseHead, _ framing: ResponseFraming) -> String {
    var text = "\(framing.version.rawValue) \(head.status) \(describe(head.fields)) "
    switch framing.body {
    case .none: text += "none"
    case .bytes(let length): text += "\(length)"
    case .chunked: text += "chunked"
    case .untilClose: text += "until close"
    }
    if let length = framing.declaredLength { text += " of \(length)" }
    if !framing.keepsAlive { text += " closes" }
    if framing.isInterim { text += " interim" }
    if framing.opensTunnel { text += " tunnel" }
    return text
  }

  /// `[a: b|c: d]`
  private static func describe(_ fields: HeaderFields) -> String {
    let lines = fields.withWireBytes { $0.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) } }
    return "[" + lines.split(separator: "\r\n").joined(separator: "|") + "]"
  }
}

/// What a chunked body decodes to.
enum DecodedBody: Equatable {
  case ended(data: String, trailers: String, rest: String)
  case incomplete(data: String)
  case refused(Rejection.Kind, String)

  /// - Parameter ends: where the pieces end that come one after the other.
  init(
    _ bytes: [UInt8], ends: [Int]? = nil, from source: MessageSource = .client, _ options: HTTPOptions = HTTPOptions()
  ) {
    var decoder = ChunkedDecoder(options, from: source)
    var data: [UInt8] = []
    var begin = 0
    do {
      for end in ends ?? [bytes.count] {
        // What a step does not consume comes again with the next piece.
        while begin < end {
          let piece = Array(bytes[begin..<end])
          switch try piece.withUnsafeBytes({ try decoder.next($0) }) {
          case .data(let range, let consumed):
            data += piece[range]
            begin += consumed
          case .needMore(let consumed):
            begin += consumed
          case .end(let consumed):
            let trailers = decoder.trailers.withWireBytes { line in
              line.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
            }
            let rest = bytes[(begin + consumed)...]
            self = .ended(
              data: String(decoding: data, as: UTF8.self), trailers: trailers,
              rest: String(decoding: rest, as: UTF8.self))
            return
          }
        }
      }
      self = .incomplete(data: String(decoding: data, as: UTF8.self))
    } catch {
      let rejection = Rejection(error)
      self = .refused(rejection.kind, rejection.detail)
    }
  }

  init(_ text: String, from source: MessageSource = .client, _ options: HTTPOptions = HTTPOptions()) {
    self.init(Array(text.utf8), from: source, options)
  }
}
