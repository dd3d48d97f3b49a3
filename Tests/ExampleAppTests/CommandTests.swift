import Glibc
import Middlewares
import ScryptPasswords
import Testing

@testable import ExampleApp

@Suite struct CommandTests {
  /// The sentence that a command line is refused with.
  private func sentence<C: Command>(_ command: C.Type, _ arguments: String...) -> String {
    do {
      _ = try C(ParsedFlags(arguments, declared: C.flags))
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func aRelayNeedsTwoAddresses() {
    #expect(sentence(RelayCommand.self, "--to", "a:1").hasPrefix("--listen ADDR is missing: "))
    #expect(
      sentence(RelayCommand.self, "--listen", "127.0.0.1:1")
        == "--to HOST:PORT is missing: an upstream, or unix:/path; given more than once clients are spread over them"
    )
    #expect(sentence(RelayCommand.self, "--listen", "127.0.0.1:1", "--to", "db:5432") == "accepted")
    #expect(sentence(RelayCommand.self, "--listen", "unix:/tmp/x", "--to", "unix:/tmp/y") == "accepted")
    #expect(
      sentence(RelayCommand.self, "--listen", "127.0.0.1:1", "--to", "db:0")
        == "--to: \"db:0\" is not allowed; allowed is HOST:PORT (example.com:80, 127.0.0.1:80, [::1]:80) with a port of "
        + "1...65535, or unix:/path")
    #expect(
      sentence(RelayCommand.self, "--listen", "example.com:1", "--to", "a:1").hasPrefix("--listen: \"example.com:1\""))
  }

  @Test func aSharedLimitNeedsARateAndAURLThatIsRefusedWithoutItsPassword() {
    func relay(_ arguments: String...) -> String {
      do {
        _ = try RelayCommand(
          ParsedFlags(["--listen", "127.0.0.1:1", "--to", "a:1"] + arguments, declared: RelayCommand.flags))
        return "accepted"
      } catch {
        return "\(error)"
      }
    }
    #expect(relay("--rate-limit", "600/m") == "accepted")
    #expect(
      relay("--rate-limit", "600/m", "--limit-store", "redis://h:1/2", "--limit-trouble", "local:3") == "accepted")
    for rate in ["600", "0/s", "600/y", "/s", "1/s/s", "-1/s"] {
      #expect(relay("--rate-limit", rate).hasPrefix("--rate-limit: \"\(rate)\" is not allowed; allowed is "))
    }
    #expect(
      relay("--limit-store", "redis://h")
        == "--limit-store needs --rate-limit; say how much, such as --rate-limit 600/m")
    #expect(relay("--rate-limit", "1/s", "--limit-trouble", "open").hasPrefix("--limit-trouble needs --limit-store"))
    #expect(
      relay("--rate-limit", "1/s", "--limit-store", "redis://h", "--limit-trouble", "local:0")
        .hasPrefix("--limit-trouble: \"local:0\" is not allowed; allowed is open, closed or local:N"))
    let wrong = relay("--rate-limit", "1/s", "--limit-store", "redis://u:s3cret@h:0")
    #expect(wrong.hasPrefix("--limit-store: the server \"h:0\"") && !wrong.contains("s3cret"))
  }

  @Test func aReverseProxyTakesOneOriginOrMore() {
    #expect(sentence(ReverseCommand.self, "--listen", ":1").hasPrefix("--to HOST:PORT is missing: an origin"))
    #expect(sentence(ReverseCommand.self, "--listen", ":1", "--to", "a:1", "--to", "unix:/run/b") == "accepted")
    #expect(sentence(ReverseCommand.self, "--listen", ":1", "--to", "a:1", "--to", "b").hasPrefix("--to: \"b\""))
    #expect(
      sentence(ReverseCommand.self, "--listen", ":1", "--to", "a:1", "--response-timeout", "1")
        .hasPrefix("--response-timeout: \"1\" is not allowed; allowed is "))
    #expect(
      sentence(ReverseCommand.self, "--listen", ":1", "--to", "a:1", "--trusted-proxy", "10.0.0.0/33")
        .hasPrefix("--trusted-proxy: \"10.0.0.0/33\" is not allowed; allowed is "))
  }

  @Test func aBalancerInFrontIsABlockOfAddresses() {
    func said(_ more: String...) -> String {
      do {
        _ = try RelayCommand(ParsedFlags(["--listen", ":1", "--to", "a:1"] + more, declared: RelayCommand.flags))
        return "accepted"
      } catch {
        return "\(error)"
      }
    }
    #expect(said("--proxy-protocol-from", "10.0.0.0/8", "--proxy-protocol-from", "::1") == "accepted")
    #expect(said("--proxy-protocol-from", "10.0.0.0/8", "--proxy-protocol-others", "plain") == "accepted")
    #expect(said("--proxy-protocol-from", "lb").hasPrefix("--proxy-protocol-from: \"lb\" is not allowed"))
    #expect(said("--proxy-protocol-others", "plain").hasPrefix("--proxy-protocol-others needs --proxy-protocol-from"))
    #expect(said("--send-proxy-protocol", "v2") == "accepted")
    #expect(said("--send-proxy-protocol", "v3") == "--send-proxy-protocol: \"v3\" is not allowed; allowed is v1 or v2")
  }

  @Test func aForwardProxyForEverybodyIsForThisMachineAlone() {
    #expect(sentence(ForwardCommand.self, "--listen", "127.0.0.1:1") == "accepted")
    #expect(sentence(ForwardCommand.self, "--listen", ":1").contains("nobody would have to log in"))
    #expect(sentence(ForwardCommand.self, "--listen", ":1", "--open") == "accepted")
    #expect(sentence(ForwardCommand.self, "--listen", ":1", "--user", "ann:secret") == "accepted")
  }

  @Test(arguments: [
    ("workers", "0"), ("workers", "1025"), ("log", "xml"), ("handshake-timeout", "10"), ("connect-timeout", "0s"),
    ("idle-timeout", "never"), ("max-connections", "0"),
    ("max-connections-per-client", "0"), ("grace", "-1s"), ("bandwidth", "10"), ("bandwidth", "999B/s"),
    ("bandwidth", "10mb/s"), ("bandwidth", "1001GB/s"),
  ])
  func everySharedSettingNamesItsFlagItsValueAndWhatIsAllowed(flag: String, value: String) {
    let said = sentence(RelayCommand.self, "--listen", "127.0.0.1:1", "--to", "a:1", "--\(flag)", value)
    #expect(said.hasPrefix("--\(flag): \"\(value)\" is not allowed; allowed is "))
  }

  @Test func anAnonymousProxyIsForThisMachineAlone() {
    #expect(sentence(SOCKS5Command.self, "--listen", "127.0.0.1:1") == "accepted")
    #expect(sentence(SOCKS5Command.self, "--listen", "[::1]:1") == "accepted")
    #expect(sentence(SOCKS5Command.self, "--listen", ":1").contains("nobody would have to log in"))
    #expect(sentence(SOCKS5Command.self, "--listen", ":1", "--open") == "accepted")
    #expect(sentence(SOCKS5Command.self, "--listen", ":1", "--user", "ann:secret") == "accepted")
    #expect(
      sentence(SOCKS5Command.self, "--listen", ":1", "--user", "ann:secret", "--open")
        == "--open: with users it has no meaning; leave out one of them")
  }

  @Test func aWrongUserIsToldWithoutItsPassword() {
    for said in [
      sentence(SOCKS5Command.self, "--listen", ":1", "--user", ":hunter2"),
      sentence(SOCKS5Command.self, "--listen", ":1", "--user", "ann:hunter2", "--user", "ann:hunter2"),
    ] {
      #expect(said.hasPrefix("--user: "))
      #expect(!said.contains("hunter2"))
    }
  }

  @Test func aServerNeedsUsersAndPairsItsFlags() {
    #expect(
      sentence(ServerCommand.self) == "no user may log in: name users with --users FILE or --user NAME:PASSWORD")
    #expect(
      sentence(ServerCommand.self, "--user", "a:b", "--tcp", ":1")
        == "--tcp needs --to HOST:PORT, the upstream of raw TCP")
    #expect(
      sentence(ServerCommand.self, "--user", "a:b", "--to", "x:1") == "--to needs --tcp ADDR, where raw TCP listens")
    #expect(
      sentence(ServerCommand.self, "--user", "a:b", "--reverse", ":1")
        == "--reverse needs --origin HOST:PORT, the origin of the reverse proxy")
    #expect(sentence(ServerCommand.self, "--user", "a:b", "--reverse", ":1", "--origin", "x:1") == "accepted")
  }

  @Test func aUsersFileThatOthersCanReadIsRefused() throws {
    let path = "/tmp/sluice-users-\(getpid())"
    let hash = try UserTable.User(name: "ann", password: "secret", hashedBy: Scrypt(cost: ScryptCost(log2N: 4)))
    let line = UserFile.line(for: hash) + "\n"
    let file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0o600)
    try #require(file >= 0)
    defer { unlink(path) }
    #expect(write(file, line, line.utf8.count) == line.utf8.count)

    #expect(sentence(SOCKS5Command.self, "--listen", ":1", "--users", path) == "accepted")
    #expect(
      sentence(SOCKS5Command.self, "--listen", ":1", "--users", path, "--user", "ann:x")
        == "--users: \"ann\" in \(path) is given by --user, too; give each user once")
    #expect(fchmod(file, 0o640) == 0)
    #expect(
      sentence(SOCKS5Command.self, "--listen", ":1", "--users", path)
        == "--users: \(path) has mode 0640, so others can read it; allowed is 0600: chmod 600 \(path)")
    close(file)
    #expect(
      sentence(SOCKS5Command.self, "--listen", ":1", "--users", "/nonexistent/users")
        == "--users: /nonexistent/users cannot be read: No such file or directory")
    #expect(sentence(SOCKS5Command.self, "--listen", ":1", "--users", "/tmp") == "--users: /tmp is not a regular file")
  }

  @Test func everyCommandHasHelpThatNamesItsFlags() {
    for command in commands {
      let text = help(for: command)
      #expect(text.hasPrefix("ExampleApp \(command.name): "))
      for flag in command.flags { #expect(text.contains("--\(flag.name)")) }
    }
    #expect(overview.contains("socks5"))
  }
}
