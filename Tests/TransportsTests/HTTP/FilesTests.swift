import Foundation
import Pipeline
import PipelineTesting
import Testing

@testable import Transports

struct FilesTests {
  private let tree: TemporaryTree

  init() throws {
    tree = try TemporaryTree()
    try tree.file("www/index.html", "home")
    try tree.file("www/a.txt", "hello")
    try tree.file("www/dir/index.html", "in dir")
    try tree.file("www/empty/x", "")
    try tree.file("www/ä b.txt", "named")
    try tree.file("secret", "secret")
  }

  private var www: String { tree.root.appending(path: "www").path }

  @Test func aFileIsServedWithItsTypeAndItsTag() async throws {
    let server = try FileServer(Files(www, cacheControl: "max-age=60", types: ["txt": "text/x-own"]))
    let run = await server.ask("/a.txt?x=/../y")
    let head = try #require(run.response)
    #expect(head.status == 200 && run.responseBody == Array("hello".utf8))
    #expect(head.fields["content-type"] == "text/x-own" && head.fields["content-length"] == "5")
    #expect(head.fields["x-content-type-options"] == "nosniff" && head.fields["accept-ranges"] == "bytes")
    #expect(head.fields["cache-control"] == "max-age=60")
    #expect(head.fields["etag"]?.hasPrefix("\"") == true && head.fields["last-modified"]?.hasSuffix(" GMT") == true)
    #expect(await server.ask("/index.html").response?.fields["content-type"] == "text/html; charset=utf-8")
    #expect(await server.ask("/empty/x").response?.fields["content-type"] == "application/octet-stream")
    #expect(await server.text("/empty/x") == "200")
    #expect(await server.text("/%C3%A4%20b.txt") == "200 named")
  }

  @Test func aDirectoryIsItsIndexAndNeverListed() async throws {
    let server = try FileServer(Files(www))
    #expect(await server.text("/") == "200 home")
    #expect(await server.text("http://h") == "200 home")
    #expect(await server.text("/dir/") == "200 in dir")
    #expect(await server.text("/empty/") == "404")
    #expect(await server.text("/a.txt/") == "404")
    #expect(await server.text("/none") == "404")
    #expect(await server.text("/a.txt/x") == "404")
  }

  @Test func aDirectoryWithoutItsSlashIsRedirectedToIt() async throws {
    let server = try FileServer(Files(www))
    for (target, location) in [
      ("/dir", "./dir/"), ("/dir?a=b", "./dir/?a=b"), ("//dir", "./dir/"), ("/%64ir", "./%64ir/"),
    ] {
      let head = try #require(await server.ask(target).response)
      #expect(head.status == 301 && head.fields["location"] == location, "\(target)")
    }
  }

  @Test(arguments: [true, false]) func nothingOutsideIsServed(_ usesOpenat2: Bool) async throws {
    try tree.link("www/out", to: "../secret")
    try tree.link("www/absolute", to: tree.root.appending(path: "secret").path)
    try tree.link("www/up", to: "..")
    try tree.link("www/proc", to: "/proc/self/fd/0")
    try tree.link("www/loop", to: "loop")
    let server = try FileServer(Files(tree: FileTree(www, usesOpenat2: usesOpenat2)))
    for target in [
      "/out", "/absolute", "/up/secret", "/up/www/a.txt", "/proc", "/loop", "/..%2fsecret", "/a.txt%00.html",
    ] {
      #expect(await server.text(target) == "404", "\(target)")
    }
    for target in ["/../secret", "/%2e%2e/secret", "/dir/../a.txt", "/./a.txt", "/%zz", "/a%2"] {
      #expect(await server.text(target) == "400", "\(target)")
    }
    #expect(await server.text("/a.txt") == "200 hello")
    #expect(await server.text("/dir/index.html") == "200 in dir")
    #expect(await server.text("/") == "200 home")
  }

  @Test func aLinkThatStaysInsideIsFollowedUnlessToldOtherwise() async throws {
    try tree.link("www/in", to: "a.txt")
    try tree.link("www/dirlink", to: "dir")
    let server = try FileServer(Files(www))
    #expect(await server.text("/in") == "200 hello")
    #expect(await server.text("/dirlink/") == "200 in dir")
    for tree in [FileTree(www, followsLinks: false), FileTree(www, usesOpenat2: false)] {
      let strict = try FileServer(Files(tree: tree))
      #expect(await strict.text("/in") == "404")
      #expect(await strict.text("/dirlink/") == "404")
      #expect(await strict.text("/a.txt") == "200 hello")
    }
  }

  @Test func namesThatBeginWithADotAreHiddenUnlessNamed() async throws {
    try tree.file("www/.htpasswd", "x")
    try tree.file("www/.git/config", "x")
    try tree.file("www/.well-known/acme", "token")
    let server = try FileServer(Files(www, dotFiles: [".well-known"]))
    #expect(await server.text("/.htpasswd") == "404")
    #expect(await server.text("/%2ehtpasswd") == "404")
    #expect(await server.text("/.git/config") == "404")
    #expect(await server.text("/.well-known/acme") == "200 token")
    #expect(await server.text("/.well-known/.htpasswd") == "404")
  }

  @Test func whatIsNoRegularFileIsNotThere() async throws {
    #expect(mkfifo(www + "/fifo", 0o600) == 0)
    try tree.link("www/device", to: "/dev/zero")
    let server = try FileServer(Files(www))
    #expect(await server.text("/fifo") == "404")
    #expect(await server.text("/device") == "404")
    #expect(await server.text("/" + String(repeating: "x", count: 300)) == "404")
    #expect(await server.text("/" + String(repeating: "x/", count: 3000) + "y") == "404")
  }

  @Test func onlyReadingIsAllowed() async throws {
    let server = try FileServer(Files(www))
    for method in [HTTPMethod.post, .put, .delete, .options, .connect, "PURGE"] {
      let head = try #require(await server.ask("/a.txt", method).response)
      #expect(head.status == 405 && head.fields["allow"] == "GET, HEAD", "\(method)")
    }
  }

  @Test func headIsTheHeadOfGet() async throws {
    try tree.file("www/large", [UInt8](repeating: 7, count: 300_000))
    let server = try FileServer(Files(www))
    for name in ["/a.txt", "/large"] {
      let get = await server.ask(name)
      let head = await server.ask(name, .head)
      #expect(head.response?.status == 200 && head.responseBody.isEmpty)
      #expect(head.response?.fields["etag"] == get.response?.fields["etag"])
      guard case .streamed(let length) = head.response?.body else {
        Issue.record("no length: \(String(describing: head.response?.body))")
        continue
      }
      #expect(length == UInt64(get.responseBody.count))
    }
  }

  @Test func aLargeFileComesInPiecesAndWhole() async throws {
    let content = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try tree.file("www/large.bin", content)
    let server = try FileServer(Files(www))
    let run = await server.ask("/large.bin")
    #expect(run.responseBody == content)
    let part = await server.ask("/large.bin", .get, ["range": "bytes=100000-399999"])
    #expect(part.response?.status == 206 && part.responseBody == Array(content[100_000..<400_000]))
  }

  @Test func aDirectoryThatIsNotThereIsRefusedWhenTheAppIsBuilt() {
    let error = #expect(throws: ConfigurationError.self) {
      try FileServer(Files("/nonexistent/www", index: "a/b", dotFiles: ["x", ".."]))
    }
    #expect(
      error?.messages == [
        "files: the index \"a/b\" has to be the name of a file, without a directory",
        "files: the dot file \"..\" has to be a name that begins with a dot, other than . and ..",
        "files: the dot file \"x\" has to be a name that begins with a dot, other than . and ..",
        "files: the directory \"/nonexistent/www\" cannot be opened: No such file or directory",
      ])
  }

  @Test func everyDescriptorIsClosed() async throws {
    try tree.file("www/large", [UInt8](repeating: 7, count: 300_000))
    let server = try FileServer(Files(www, precompressed: [.gzip]))
    for target in ["/a.txt", "/large", "/dir", "/none", "/", "/dir/", "/a.txt/"] {
      _ = await server.ask(target)
      _ = await server.ask(target, .head)
      _ = await server.ask(target, .get, ["range": "bytes=9999999-"])
      _ = await server.ask(target, .get, ["if-none-match": "*"])
    }
    #expect(tree.openDescriptors == 0)
  }
}

/// A file that changes under the hand.
struct ShrinkingFileTests {
  @Test func aFileThatShrinksIsCutAndClosed() async throws {
    let tree = try TemporaryTree()
    let url = try tree.file("large", [UInt8](repeating: 7, count: 400_000))
    let exchange = MockHTTPExchange(MockClient(target: "/large"))
    exchange.afterHead = { try FileHandle(forWritingTo: url).truncate(atOffset: 200_000) }
    let rejection = await #expect(throws: Rejection.self) {
      _ = try await Files(tree.root.path).serve(exchange)
    }
    #expect(rejection?.kind == .internalError && exchange.isCommitted)
    #expect(exchange.responseBody.count == 200_000 && !exchange.isBodyFinished)
    #expect(tree.openDescriptors == 0)
  }
}
