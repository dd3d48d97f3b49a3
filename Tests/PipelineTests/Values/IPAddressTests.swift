import Pipeline
import Testing

@Suite struct IPAddressTests {
  @Test(arguments: [
    ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
    ("::", "::"), ("::1", "::1"), ("[::1]", "::1"), ("2001:DB8::1", "2001:db8::1"),
    ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
    ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"), ("::ffff:192.0.2.1", "192.0.2.1"), ("::ffff:c000:201", "192.0.2.1"),
    ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"), ("fe80::", "fe80::"),
  ])
  func textIsReadAndWrittenCanonically(text: String, canonical: String) throws {
    let address = try #require(IPAddress(text))
    #expect(address.description == canonical)
    #expect(IPAddress(canonical) == address)
  }

  @Test(arguments: [
    "", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.-4", "1.2.3.4 ", "0x7f.0.0.1", "127.1", ":", ":::",
    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "::1%lo", "1.2.3.4::", "::1.2.3",
    "1:2:3:4:5:6:7::8",
  ])
  func whatIsNoAddressIsRefused(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func mappedAddressesAreTheIPv4AddressEverywhere() throws {
    let mapped = try #require(IPAddress("::ffff:10.0.0.1"))
    #expect(!mapped.isIPv6)
    #expect(mapped == IPAddress(v4: 0x0a00_0001))
    #expect(mapped.isPrivate)
    let raw: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1]
    #expect(IPAddress(bytes: raw.span) == mapped)
  }

  @Test func bytesRoundTripInNetworkOrder() throws {
    for text in ["1.2.3.4", "2001:db8::ff00:42:8329"] {
      let address = try #require(IPAddress(text))
      #expect(IPAddress(bytes: address.bytes.span) == address)
    }
    #expect(IPAddress("1.2.3.4")?.bytes == [1, 2, 3, 4])
    let five: [UInt8] = [1, 2, 3, 4, 5]
    #expect(IPAddress(bytes: five.span) == nil)
  }

  @Test(arguments: [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1",
    "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1",
  ])
  func whatAPublicProxyMustNotReachIsNotPublic(text: String) throws {
    #expect(try #require(IPAddress(text)).isPublic == false)
  }

  @Test(arguments: ["8.8.8.8", "172.32.0.1", "172.15.0.1", "100.128.0.1", "2606:4700::1111", "192.1.0.1"])
  func ordinaryAddressesArePublic(text: String) throws {
    #expect(try #require(IPAddress(text)).isPublic)
  }

  @Test func blocksContainWhatTheirPrefixSays() {
    let block: CIDR = "10.1.2.3/9"
    #expect(block.description == "10.0.0.0/9")
    #expect(block.contains(IPAddress("10.127.255.255")!))
    #expect(!block.contains(IPAddress("10.128.0.0")!))
    #expect(!block.contains(IPAddress("::a00:1")!))
    #expect(CIDR("0.0.0.0/0").contains(IPAddress("200.1.1.1")!))
    let six: CIDR = "2001:db8:ffff::/47"
    #expect(six.contains(IPAddress("2001:db8:fffe::1")!))
    #expect(!six.contains(IPAddress("2001:db8:fffd::1")!))
    #expect(CIDR("2001:db8::/96").contains(IPAddress("2001:db8::ffff:ffff")!))
  }

  @Test(arguments: ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "x/8", "/8", ""])
  func whatIsNoBlockIsRefused(text: String) {
    #expect(CIDR(text) == nil)
  }
}
