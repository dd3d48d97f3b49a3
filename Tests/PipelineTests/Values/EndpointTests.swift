import Pipeline
import Testing

@Suite struct EndpointTests {
  @Test func hostAndPortAreRead() {
    #expect(Endpoint("Example.COM:80")?.description == "example.com:80")
    #expect(Endpoint("[::1]:443")?.description == "[::1]:443")
    #expect(Endpoint("1.2.3.4:0")?.port == 0)
    #expect(Endpoint("example.com.:1")?.host.description == "example.com")
  }

  @Test(arguments: ["", ":", "host", "host:", "host:65536", "host:+1", "::1:80", "a b:80", "é:80", ".a:80", "[host:80"])
  func whatIsNoEndpointIsRefused(text: String) {
    #expect(Endpoint(text) == nil)
  }

  @Test func namesAreBytesOfLettersDigitsAndDots() {
    let nul: [UInt8] = [97, 0, 98]
    #expect(DomainName(nul.span) == nil)
    let longest = [UInt8](repeating: 97, count: 255)
    #expect(DomainName(longest.span)?.text.utf8.count == 255)
    let longer = [UInt8](repeating: 97, count: 256)
    #expect(DomainName(longer.span) == nil)
    let none: [UInt8] = []
    #expect(DomainName(none.span) == nil)
    #expect(DomainName("a.Example.com")?.isWithin("example.com") == true)
    #expect(DomainName("badexample.com")?.isWithin("example.com") == false)
  }

  @Test func listenAddressesAreReadInTheirShortForms() {
    #expect(SocketAddress(":80")?.description == "0.0.0.0:80")
    #expect(SocketAddress("localhost:80") == .ip(.loopbackV4, port: 80))
    #expect(SocketAddress("unix:/tmp/a") == .unix("/tmp/a"))
    #expect(SocketAddress("unix:") == nil)
    #expect(SocketAddress("unix:" + String(repeating: "a", count: 108)) == nil)
    #expect(SocketAddress("example.com:80") == nil)
  }

  @Test func onlyLoopbackAndUnixListenersAreLocal() {
    #expect(SocketAddress("127.0.0.1:1")!.isLocal)
    #expect(SocketAddress("[::1]:1")!.isLocal)
    #expect(SocketAddress("unix:/x")!.isLocal)
    #expect(!SocketAddress(":1")!.isLocal)
    #expect(!SocketAddress("[::]:1")!.isLocal)
  }

  @Test func secretsHaveNoDescription() {
    let credentials = PasswordCredentials(user: "ann", password: "hunter2")
    var dumped = ""
    dump(credentials, to: &dumped)
    for text in ["\(credentials)", String(reflecting: credentials), dumped] {
      #expect(!text.contains("hunter2") && !text.contains("104, 117, 110"))
    }
    #expect(credentials.password.reveal() == Array("hunter2".utf8))
  }
}
