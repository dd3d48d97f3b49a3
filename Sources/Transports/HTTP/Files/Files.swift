internal import Glibc
public import Pipeline

/// Serves the files below a directory.
///
/// ```swift
/// Route("/static") { RewritePath(.strip("/static")) } to: { Files("/srv/www", cacheControl: "max-age=3600") }
/// ```
/// GET and HEAD only; others get 405 with `allow`. A name that ends in `/` is its `index.html`; a directory without the `/` is
/// redirected to it; nothing is ever listed. Whatever the request says, only what lies below the directory is opened: the
/// kernel resolves the path under it (`openat2`, or step by step without following links where it is not to be had), so
/// neither `..` nor a link out of it leads anywhere: 404, like a name that begins with a dot, and what is no regular file.
/// Dot segments and a broken percent-encoding are refused as `malformed` (400), as routes do.
///
/// Conditions and byte ranges are answered (RFC 9110, 13 and 14): 304, 412, 206, 416; several ranges as
/// `multipart/byteranges`, with what overlaps joined. More than 16 ranges, or ranges that come to more than the file, get the
/// whole file.
/// Where `precompressed` names an encoding that the client accepts and a sibling file has (`app.js.br`), that is sent.
/// Opening and reading happen on the offload pool: a small file in one go, a large one piece by piece as the client takes
/// it. A file that shrinks meanwhile ends in a cut, never in what looks like its end.
public struct Files: Destination {
  /// An encoding of files that lie ready beside the plain ones.
  public enum Encoding: String, Sendable, CaseIterable {
    /// `name.br`.
    case brotli = "br"
    /// `name.gz`.
    case gzip
    /// `name.zst`.
    case zstd

    var suffix: String {
      switch self {
      case .brotli: ".br"
      case .gzip: ".gz"
      case .zstd: ".zst"
      }
    }
  }

  /// A file up to this size is read where it is opened.
  static let smallFile = 64 * 1024
  /// What is read and written at once of a larger one.
  static let piece = 128 * 1024

  private let tree: FileTree
  private let index: String
  private let shownDotFiles: Set<String>
  private let followsLinks: Bool
  private let precompressed: [Encoding]
  private let cacheControl: String?
  private let types: [String: String]

  /// - Parameters:
  ///   - directory: looked up anew for each request, so that a link may be switched to another one.
  ///   - index: what a name that ends in `/` stands for.
  ///   - dotFiles: names that begin with a dot and are served all the same: `.well-known`.
  ///   - followsLinks: whether symbolic links are followed that stay below the directory.
  ///   - precompressed: encodings to look for, the best first.
  ///   - cacheControl: the `cache-control` of what is served.
  ///   - types: media types by extension, besides those that are known and before them.
  public init(
    _ directory: String, index: String = "index.html", dotFiles: Set<String> = [], followsLinks: Bool = true,
    precompressed: [Encoding] = [], cacheControl: String? = nil, types: [String: String] = [:]
  ) {
    self.init(
      tree: FileTree(directory, followsLinks: followsLinks), index: index, dotFiles: dotFiles,
      followsLinks: followsLinks, precompressed: precompressed, cacheControl: cacheControl, types: types)
  }

  init(
    tree: FileTree, index: String = "index.html", dotFiles: Set<String> = [], followsLinks: Bool = true,
    precompressed: [Encoding] = [], cacheControl: String? = nil, types: [String: String] = [:]
  ) {
    self.tree = tree
    self.index = index
    shownDotFiles = dotFiles
    self.followsLinks = followsLinks
    self.precompressed = precompressed
    self.cacheControl = cacheControl
    self.types = types
  }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary {
    guard exchange.request.method == .get || exchange.request.method == .head else {
      exchange.annotate(.allowedMethods(["GET", "HEAD"]))
      throw Rejection(.methodNotAllowed, detail: "files are read, not changed")
    }
    let path = try exchange.request.withPath { try FilePath($0, showing: shownDotFiles) }
    let name = path.isDirectory ? path.appending(index) : path
    let conditions = FileConditions(exchange.request)
    let readsAhead = exchange.request.method == .get && conditions.isEmpty
    let siblings = precompressed.filter { FileConditions.accepts($0, exchange.request.fields) }
    let found = try await exchange.runtime.offload { [tree] in
      try tree.open(name, siblings: siblings, readingUpTo: readsAhead ? Self.smallFile : 0)
    }
    switch found {
    case .file(let file): return try await serve(file, name, conditions, exchange)
    case .directory where !path.isDirectory: return try await redirect(exchange)
    case .directory, .nothing: throw Rejection(.noRoute, detail: "no such file")
    case .refused: throw Rejection(.forbidden, detail: "the file may not be read")
    }
  }

  // MARK: - The answer

  private func serve(
    _ file: OpenFile, _ name: FilePath, _ conditions: FileConditions, _ exchange: HTTPExchange
  ) async throws -> Summary {
    switch conditions.verdict(on: file, method: exchange.request.method) {
    case .notModified: return try await exchange.respond(304) { describe(file, name, in: &$0.fields) }
    case .failed: return try await exchange.respond(412)
    case .unsatisfiable:
      return try await exchange.respond(416) { $0.fields.set("content-range", "bytes */\(file.size)") }
    case .whole: return try await send(file, name, nil, exchange)
    case .part(let range): return try await send(file, name, range, exchange)
    case .parts(let ranges): return try await send(file, name, ranges, exchange)
    }
  }

  private func send(
    _ file: OpenFile, _ name: FilePath, _ part: Range<UInt64>?, _ exchange: HTTPExchange
  ) async throws -> Summary {
    let range = part ?? 0..<file.size
    let length = range.upperBound - range.lowerBound
    func describe(_ head: inout HTTPResponseHead) {
      self.describe(file, name, in: &head.fields)
      head.fields.set("accept-ranges", "bytes")
      if part != nil {
        head.fields.set("content-range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(file.size)")
      }
    }
    let status = part == nil ? 200 : 206
    if part == nil, exchange.request.method == .get, let bytes = file.takeAhead() {
      return try await exchange.respond(status, body: bytes, describe)
    }
    return try await exchange.respond(status, length: length, describe) { exchange in
      try await write(range, of: file, to: exchange)
    }
  }

  private func send(
    _ file: OpenFile, _ name: FilePath, _ ranges: [Range<UInt64>], _ exchange: HTTPExchange
  ) async throws -> Summary {
    let parts = MultipartRanges(ranges, of: file.size, type: type(of: name)) { exchange.runtime.randomBits() }
    func describe(_ head: inout HTTPResponseHead) {
      self.describe(file, name, in: &head.fields)
      head.fields.set("content-type", parts.contentType)
      head.fields.set("accept-ranges", "bytes")
    }
    return try await exchange.respond(206, length: parts.length, describe) { exchange in
      for range in ranges {
        try await exchange.writeBody(parts.head(range))
        try await write(range, of: file, to: exchange)
      }
      try await exchange.writeBody(parts.end)
    }
  }

  private func write(_ range: Range<UInt64>, of file: OpenFile, to exchange: HTTPExchange) async throws {
    var at = range.lowerBound
    while at < range.upperBound {
      let offset = at
      let count = Int(min(UInt64(Self.piece), range.upperBound - at))
      try await exchange.runtime.offload { try file.read(count, at: offset) }
      let piece = file.takePiece()
      // Of a file that has shrunk there is nothing true to say but that it is cut.
      guard !piece.isEmpty else { throw Rejection(.internalError, detail: "the file shrank while it was served") }
      try await exchange.writeBody(piece)
      at += UInt64(piece.count)
      file.giveBack(piece)
    }
  }

  private func type(of name: FilePath) -> String {
    let type = name.fileExtension
    return types[type] ?? MediaTypes.byExtension[type] ?? "application/octet-stream"
  }

  private func describe(_ file: OpenFile, _ name: FilePath, in fields: inout HeaderFields) {
    fields.set("content-type", type(of: name))
    // Or a browser guesses that a text file is a page.
    fields.set("x-content-type-options", "nosniff")
    fields.set("last-modified", HTTPDate.text(file.lastModified))
    fields.set("etag", file.tag)
    if let encoding = file.encoding { fields.set("content-encoding", encoding.rawValue) }
    if !precompressed.isEmpty { fields.add("vary", "accept-encoding") }
    if let cacheControl { fields.set("cache-control", cacheControl) }
  }

  /// To the same name with a `/`: as a relative reference, which holds below whatever prefix was stripped above, and which
  /// no name can turn into another host.
  private func redirect(_ exchange: HTTPExchange) async throws -> Summary {
    let path = exchange.request.path
    let last = path.split(separator: "/").last ?? ""
    let query = exchange.request.query.map { "?" + $0 } ?? ""
    return try await exchange.respond(301) { $0.fields.set("location", "./\(last)/\(query)") }
  }
}

// MARK: - Component

extension Files {
  public var parameters: [Parameter] {
    [Parameter("directory", tree.directory)]
      + (precompressed.isEmpty
        ? [] : [Parameter("precompressed", precompressed.map(\.rawValue).joined(separator: " "))])
  }

  public func validate(into problems: inout Problems) {
    if index.isEmpty || index.contains("/") {
      problems.refuse("the index \"\(index)\" has to be the name of a file, without a directory")
    }
    for name in dotFilesThatAreNone {
      problems.refuse("the dot file \"\(name)\" has to be a name that begins with a dot, other than . and ..")
    }
    if let problem = tree.problem { problems.refuse(problem) }
  }

  private var dotFilesThatAreNone: [String] {
    shownDotFiles.filter { !$0.hasPrefix(".") || $0 == "." || $0 == ".." || $0.contains("/") }.sorted()
  }
}
