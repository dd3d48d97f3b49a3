import Pipeline
import Testing

@testable import Transports

/// The handshake as a value: what is answered, in which order, to which goals of the chain.
@Suite struct HandshakeTests {
  typealias Goal = SOCKS5Handshake.Goal

  static let bound = SocketAddress.ip(IPAddress(v4: 0x0a00_0001), port: 0x1234)
  static let anonymous: [Goal] = [.destination, .open(bound: bound)]
  static let withPassword: [Goal] = [.credentials, .destination, .open(bound: bound)]
  static let success: [UInt8] = [5, 0, 0, 1, 10, 0, 0, 1, 0x12, 0x34]
  static let request = ClientBytes.connect(v4: [192, 0, 2, 7], port: 443)
  static let endpoint = Endpoint(.ip(IPAddress(v4: 0xc000_0207)), port: 443)

  static func refusal(_ kind: Rejection.Kind, authenticated: Bool = false) -> Goal {
    .refusal(SOCKS5Handshake.Refusal(kind, isAuthenticated: authenticated))
  }

  @Test func methodNoneIsChosenWhenTheEndIsReachedWithoutAPassword() {
    let run = HandshakeTranscript(ClientBytes.greeting(0) + Self.request, goals: Self.anonymous)
    #expect(run.sent == [5, 0] + Self.success)
    #expect(run.outcomes == [.destination(Self.endpoint), .opened(early: [])])
  }

  @Test(arguments: [[0, 2], [0, 1, 2], [2], [2, 0], [1, 2, 0x80]] as [[UInt8]])
  func passwordMethodIsChosenFromWhateverListHasIt(methods: [UInt8]) {
    let bytes = [5, UInt8(methods.count)] + methods + ClientBytes.login("joe", "pw") + Self.request
    let run = HandshakeTranscript(bytes, goals: Self.withPassword)
    #expect(run.sent == [5, 2, 1, 0] + Self.success)
    #expect(
      run.outcomes == [
        .credentials(user: Array("joe".utf8), password: Array("pw".utf8)), .destination(Self.endpoint),
        .opened(early: []),
      ])
  }

  @Test(arguments: [[0], [0, 1], [0, 2], [0, 1, 2]] as [[UInt8]])
  func methodNoneIsChosenFromWhateverListHasIt(methods: [UInt8]) {
    let run = HandshakeTranscript(
      [5, UInt8(methods.count)] + methods + Self.request, goals: [.open(bound: nil)])
    #expect(run.sent == [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(run.outcomes == [.opened(early: [])])
  }

  @Test(arguments: [[], [1], [2], [1, 2], [0x80, 0xff]] as [[UInt8]])
  func nothingFitsAnAnonymousChainWithoutMethodNone(methods: [UInt8]) {
    let run = HandshakeTranscript(
      [5, UInt8(methods.count)] + methods, goals: [.destination, .destination, Self.refusal(.forbidden), .destination])
    #expect(run.sent == [5, 0xff])
    #expect(run.outcomes == [.fault(.forbidden), .fault(.forbidden), .close, .fault(.forbidden)])
  }

  @Test func aClientWithoutPasswordGetsNoneAcceptableWhenTheAuthenticatorRefuses() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0), goals: [.credentials, Self.refusal(.credentialsRequired)])
    #expect(run.sent == [5, 0xff])
    #expect(run.outcomes == [.noCredentials, .close])
  }

  @Test func aClientWithoutPasswordGoesOnWhenTheAuthenticatorTakesItAnyway() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + Self.request, goals: [.credentials, .destination, .open(bound: Self.bound)])
    #expect(run.sent == [5, 0] + Self.success)
    #expect(run.outcomes == [.noCredentials, .destination(Self.endpoint), .opened(early: [])])
  }

  @Test func aClientTakenWithoutPasswordIsToldTheReasonOfALaterRefusal() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + Self.request, goals: [.credentials, Self.refusal(.rateLimited, authenticated: true)])
    #expect(run.sent == [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test func noPasswordIsAskedForOnceTheMethodIsSettled() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0, 2) + Self.request, goals: [.destination, .credentials, .open(bound: nil)])
    #expect(run.outcomes == [.destination(Self.endpoint), .noCredentials, .opened(early: [])])
  }

  @Test func anAddressOfEachTypeIsRead() {
    let v6: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    let cases: [([UInt8], String)] = [
      (ClientBytes.connect(v4: [192, 0, 2, 7], port: 80), "192.0.2.7:80"),
      (ClientBytes.connect(v6: v6, port: 65535), "[2001:db8::1]:65535"),
      (ClientBytes.connect(v6: [UInt8](repeating: 0, count: 10) + [255, 255, 192, 0, 2, 7], port: 1), "192.0.2.7:1"),
      (ClientBytes.connect(name: "Example.COM", port: 443), "example.com:443"),
      (ClientBytes.connect(name: "example.com.", port: 443), "example.com:443"),
      (ClientBytes.connect(name: "_dmarc.x-y.test", port: 0), "_dmarc.x-y.test:0"),
      // Literals that were sent as names are addresses.
      (ClientBytes.connect(name: "127.0.0.1", port: 80), "127.0.0.1:80"),
      (ClientBytes.connect(name: "::1", port: 80), "[::1]:80"),
      (ClientBytes.connect(name: "2001:db8::a", port: 80), "[2001:db8::a]:80"),
      (ClientBytes.connect(name: "node7", port: 80), "node7:80"),
    ]
    for (request, expected) in cases {
      let run = HandshakeTranscript(ClientBytes.greeting(0) + request, goals: [.destination])
      guard case .destination(let endpoint)? = run.outcomes.first else {
        Issue.record("\(expected): \(run.outcomes)")
        continue
      }
      #expect(endpoint.description == expected)
    }
  }

  @Test func nameOf255BytesIsTaken() {
    let name = [UInt8](repeating: UInt8(ascii: "a"), count: 255)
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + ClientBytes.connect(name: name, port: 1), goals: [.destination])
    #expect(run.outcomes == [.destination(Endpoint(.name(DomainName(name.span)!), port: 1))])
  }

  @Test(arguments: ["", "a\0b", "\0", "a b", ".", ".a", "ä.test", "a\n", "a:b", "1:2"])
  func aNameThatNoHostHasIsRefused(name: String) {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + ClientBytes.connect(name: name, port: 80),
      goals: [.destination, Self.refusal(.malformed)])
    #expect(run.sent == [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(run.outcomes == [.fault(.malformed), .close])
  }

  @Test func credentialsAreBytes() {
    let user: [UInt8] = [0] + [UInt8](repeating: 0xff, count: 254)
    let password = (0..<255).map { UInt8($0) }
    let run = HandshakeTranscript(
      ClientBytes.greeting(2) + ClientBytes.login(user, password), goals: [.credentials])
    #expect(run.outcomes == [.credentials(user: user, password: password)])
  }

  @Test func anEmptyFieldIsForTheAuthenticatorToJudge() {
    let run = HandshakeTranscript(ClientBytes.greeting(2) + ClientBytes.login([], []), goals: [.credentials])
    #expect(run.outcomes == [.credentials(user: [], password: [])])
  }

  @Test func aFailedLoginIsAnsweredWithStatusOne() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(2) + ClientBytes.login("joe", "no") + Self.request,
      goals: [.credentials, Self.refusal(.credentialsInvalid)])
    #expect(run.sent == [5, 2, 1, 1])
    #expect(run.outcomes.last == .close)
  }

  @Test func aGoodLoginStaysGoodWhateverIsRefusedAfterIt() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(2) + ClientBytes.login("joe", "pw") + Self.request,
      goals: [.credentials, Self.refusal(.quotaExhausted, authenticated: true)])
    #expect(run.sent == [5, 2, 1, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test func aRefusalBeforeTheMethodReadsTheRequestAndSaysWhy() {
    let run = HandshakeTranscript(ClientBytes.greeting(0, 2) + Self.request, goals: [Self.refusal(.rateLimited)])
    #expect(run.sent == [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(run.outcomes == [.close])
  }

  @Test func aRefusalBeforeTheMethodWaitsForTheRequest() {
    let run = HandshakeTranscript(ClientBytes.greeting(0, 2), goals: [Self.refusal(.rateLimited)])
    #expect(run.sent == [5, 0])
    #expect(run.outcomes == [.awaitsMore])
  }

  @Test func aRefusalBeforeTheMethodIsNoneAcceptableToAClientThatWantsToLogIn() {
    let run = HandshakeTranscript(ClientBytes.greeting(2), goals: [Self.refusal(.rateLimited)])
    #expect(run.sent == [5, 0xff])
    #expect(run.outcomes == [.close])
  }

  @Test func aDrainWaitsForNothing() {
    let goal = [Self.refusal(.draining)]
    #expect(HandshakeTranscript([UInt8](), goals: goal).sent == [])
    #expect(HandshakeTranscript([UInt8](), goals: goal).outcomes == [.close])
    let afterLogin = HandshakeTranscript(
      ClientBytes.greeting(2) + ClientBytes.login("a", "b"),
      goals: [.credentials, Self.refusal(.draining, authenticated: true)])
    #expect(afterLogin.sent == [5, 2, 1, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test(arguments: [0x02, 0x03, 0x00, 0x7f] as [UInt8])
  func anotherCommandIsReadWholeAndAnsweredWith7(command: UInt8) {
    for request in [
      ClientBytes.connect(v4: [0, 0, 0, 0], port: 0, command: command),
      ClientBytes.connect(name: Array("a.test".utf8), port: 0, command: command),
    ] {
      let goals: [Goal] = [.destination, Self.refusal(.unsupportedCommand)]
      let run = HandshakeTranscript(ClientBytes.greeting(0) + request, goals: goals)
      #expect(run.sent == [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0])
      #expect(run.outcomes == [.fault(.unsupportedCommand), .close])
      let short = HandshakeTranscript(ClientBytes.greeting(0) + request.dropLast(), goals: goals)
      #expect(short.outcomes == [.awaitsMore])
    }
  }

  @Test(arguments: [0, 2, 5, 0xff] as [UInt8])
  func anotherAddressTypeIsAnsweredWith8(type: UInt8) {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + [5, 1, 0, type], goals: [.destination, Self.refusal(.unsupportedAddressType)])
    #expect(run.sent == [5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(run.outcomes == [.fault(.unsupportedAddressType), .close])
  }

  @Test(arguments: [4, 0, 6, UInt8(ascii: "G")] as [UInt8])
  func whatIsNotSOCKS5IsClosedWithoutAWord(version: UInt8) {
    let run = HandshakeTranscript([version], goals: [.credentials, .destination, Self.refusal(.malformed)])
    #expect(run.sent == [])
    #expect(run.outcomes == [.fault(.malformed), .fault(.malformed), .close])
    #expect(HandshakeTranscript([version], goals: [Self.refusal(.rateLimited)]).outcomes == [.close])
  }

  @Test func aWrongLoginVersionIsAFailedLogin() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(2) + [5], goals: [.credentials, .destination, Self.refusal(.malformed)])
    #expect(run.sent == [5, 2, 1, 1])
    #expect(run.outcomes == [.fault(.malformed), .fault(.malformed), .close])
  }

  @Test(arguments: [[4], [5, 1, 1]] as [[UInt8]])
  func aWrongByteInTheRequestIsAGeneralFailure(request: [UInt8]) {
    let run = HandshakeTranscript(ClientBytes.greeting(0) + request, goals: [.destination, Self.refusal(.malformed)])
    #expect(run.sent == [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(run.outcomes == [.fault(.malformed), .close])
  }

  @Test func earlyDataIsKept() {
    let early = (0..<900).map { UInt8(truncatingIfNeeded: $0) }
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + Self.request + early, goals: [.open(bound: nil)])
    #expect(run.outcomes == [.opened(early: early)])
  }

  @Test func boundAddressesOfBothFamiliesAreTold() {
    let v6 = SocketAddress.ip(IPAddress(v6High: 0x2001_0db8_0000_0000, low: 5), port: 0xfffe)
    let expected: [UInt8] = [5, 0, 0, 4, 0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [5, 0xff, 0xfe]
    #expect(SOCKS5Message.reply(.succeeded, bound: v6).bytes == expected)
    #expect(SOCKS5Message.reply(.succeeded, bound: .unix("/x")).bytes == [5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(SOCKS5Message.reply(.succeeded, bound: Self.bound).bytes == Self.success)
  }

  @Test func afterTheReplyThereIsNothingMoreToSay() {
    let run = HandshakeTranscript(
      ClientBytes.greeting(0) + Self.request,
      goals: [.open(bound: nil), Self.refusal(.quotaExhausted), .destination, .credentials, .open(bound: nil)])
    #expect(run.sent.count == 12)
    #expect(run.outcomes == [.opened(early: []), .close, .close, .close, .close])
  }
}
