import Middlewares
import Pipeline
import Testing

@testable import ScryptPasswords

struct ScryptTests {
  /// The cheapest cost that is allowed: the tests are about everything but the cost.
  private let scrypt = Scrypt(cost: ScryptCost(log2N: 4, blockSize: 1, parallelism: 1))

  @Test func theRightPasswordMatchesAndAnotherDoesNot() throws {
    let hash = try scrypt.hash(Array("secretThicket".utf8))
    #expect(try scrypt.verify(Array("secretThicket".utf8), against: hash))
    #expect(try !scrypt.verify(Array("secretThicke".utf8), against: hash))
    #expect(try !scrypt.verify(Array("secretThicket\0".utf8), against: hash))
    #expect(try !scrypt.verify([], against: hash))
  }

  @Test(arguments: [[0, 1], [0xff], [UInt8](repeating: 0xc3, count: 255), Array(0...255)] as [[UInt8]])
  func anyBytesMakeAPassword(password: [UInt8]) throws {
    let hash = try scrypt.hash(password)
    #expect(try scrypt.verify(password, against: hash))
    #expect(try !scrypt.verify(Array(password.dropLast()), against: hash))
  }

  @Test func twoHashesOfOnePasswordDifferInTheirSalt() throws {
    let password = Array("same".utf8)
    #expect(try scrypt.hash(password) != scrypt.hash(password))
  }

  @Test func aHashNamesItsCostAndIsVerifiedWithIt() throws {
    let hash = try scrypt.hash(Array("p".utf8))
    #expect(hash.text.reveal().hasPrefix("$scrypt$ln=4,r=1,p=1$"))
    #expect(try Scrypt().verify(Array("p".utf8), against: hash))
  }

  /// Made with Python: base64 of hashlib.scrypt(b"secretThicket", salt=bytes(range(16)), n=2**14, r=8, p=1, dklen=32).
  @Test func aHashOfAnotherProgramIsVerified() throws {
    let hash = PasswordHash("$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$x/uBpRHhGJ4sEwFd5tR0WZRVYuGboV/7IspkQmhScas")
    #expect(try Scrypt().verify(Array("secretThicket".utf8), against: hash))
    #expect(try !Scrypt().verify(Array("secretthicket".utf8), against: hash))
  }

  @Test func anEmptyPasswordIsNotHashed() {
    #expect(throws: PasswordHashError("an empty password cannot be hashed: use 1 or more bytes")) {
      try scrypt.hash([])
    }
  }

  @Test(arguments: [[0], [0, 0], Array("secret\0".utf8)] as [[UInt8]])
  func aPasswordThatEndsInNULIsNotHashed(password: [UInt8]) {
    #expect(
      throws: PasswordHashError(
        "a password that ends in NUL cannot be hashed: scrypt does not see a NUL at the end")
    ) {
      try scrypt.hash(password)
    }
  }

  @Test func digestsTellCredentialsApartAndDependOnTheKey() {
    let a = scrypt.digest(user: [1, 2], password: [3])
    #expect(a == scrypt.digest(user: [1, 2], password: [3]))
    #expect(a != scrypt.digest(user: [1], password: [2, 3]))
    #expect(a != scrypt.digest(user: [1, 2], password: [4]))
    #expect(a != Scrypt().digest(user: [1, 2], password: [3]))
  }

  @Test(arguments: [
    ("", "this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash"),
    ("hunter2", "this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash"),
    ("$2b$12$abcdefghijklmnopqrstuv", "this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash"),
    (
      "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA", "this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash"
    ),
    (
      "$scrypt$r=8,ln=14,p=1$\(salt)$\(output)",
      "the parameters of a scrypt hash read ln=14,r=8,p=1, each a number of up to three digits"
    ),
    (
      "$scrypt$ln=14,r=8$\(salt)$\(output)",
      "the parameters of a scrypt hash read ln=14,r=8,p=1, each a number of up to three digits"
    ),
    (
      "$scrypt$ln=14,r=8,p=1,x=2$\(salt)$\(output)",
      "the parameters of a scrypt hash read ln=14,r=8,p=1, each a number of up to three digits"
    ),
    (
      "$scrypt$ln=+14,r=8,p=1$\(salt)$\(output)",
      "the parameters of a scrypt hash read ln=14,r=8,p=1, each a number of up to three digits"
    ),
    ("$scrypt$ln=3,r=8,p=1$\(salt)$\(output)", "ln=3 is out of bounds: 4...20 is allowed"),
    ("$scrypt$ln=999,r=8,p=1$\(salt)$\(output)", "ln=999 is out of bounds: 4...20 is allowed"),
    ("$scrypt$ln=14,r=0,p=1$\(salt)$\(output)", "r=0 is out of bounds: 1...32 is allowed"),
    ("$scrypt$ln=14,r=8,p=17$\(salt)$\(output)", "p=17 is out of bounds: 1...16 is allowed"),
    ("$scrypt$ln=20,r=8,p=1$\(salt)$\(output)", "ln=20,r=8 needs 1024 MiB for one login: at most 128 MiB is allowed"),
    ("$scrypt$ln=14,r=8,p=1$AA==$\(output)", "the salt of a scrypt hash is base64 without padding"),
    ("$scrypt$ln=14,r=8,p=1$A$\(output)", "the salt of a scrypt hash is base64 without padding"),
    ("$scrypt$ln=14,r=8,p=1$AAAA$\(output)", "the salt of a scrypt hash has 3 bytes: 8...64 are allowed"),
    ("$scrypt$ln=14,r=8,p=1$\(salt)$", "the hash of a scrypt hash has 0 bytes: 16...64 are allowed"),
    ("$scrypt$ln=14,r=8,p=1$\(salt)$\(output)$", "this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash"),
  ])
  func malformedHashesAreRefusedWithASentence(text: String, sentence: String) {
    #expect(throws: PasswordHashError(sentence)) { try scrypt.check(PasswordHash(text)) }
    #expect(throws: PasswordHashError(sentence)) { try scrypt.verify([1], against: PasswordHash(text)) }
  }

  private static let salt = "AAECAwQFBgcICQoLDA0ODw"
  private static let output = "AAECAwQFBgcICQoLDA0ODw"
}

struct Base64Tests {
  /// RFC 4648, 10, without the padding.
  @Test(arguments: [
    ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
    ("foobar", "Zm9vYmFy"),
  ])
  func vectorsOfTheRFC(plain: String, encoded: String) {
    #expect(Base64.encode(Array(plain.utf8)) == encoded)
    #expect(Base64.decode(encoded[...]) == Array(plain.utf8))
  }

  @Test(arguments: ["Zg==", "Z", "Zh", "Zm9v\n", "Zm-_", "Zm9vé"])
  func whatIsNotCanonicalIsRefused(text: String) {
    #expect(Base64.decode(text[...]) == nil)
  }

  @Test func everyByteSurvives() {
    for length in 0..<70 {
      let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ length) }
      #expect(Base64.decode(Base64.encode(bytes)[...]) == bytes)
    }
  }
}
