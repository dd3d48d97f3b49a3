/// Keys for tests only. Nobody uses them for anything.
enum TestKeys {
  static let rsaPrivate = """
    -----BEGIN PRIVATE KEY-----
    MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDag+dbHPBMnOR/
    hddFNJxShJxGRLDbfbch0mkufVVhAKKT1lhe496q6Wlc368rfD/sq3DKHdk5KJqi
    bRMtfe9XGc9sp1TXShnLJEv3qTnS+hRbTMDHUfRU8900PGyGG0NsyP1av63rctxm
    1kqsXEo6FjyofBOTJbQo29OZ2bKd2Z5GQWf8uyG/jUy2klIwPR3tOMaOim8VwD+W
    P53qeKkblpSr+3750eQfgd3pYfzz1mlHuQ1YdioteZJSRJfIt1CgsrhZzk6DWDc0
    GAs/m1SGE8EnwaZfaM4LCJUlojdMS/XEXmCd70+43kGhMevSPCYBJ9RkLviQZS7E
    Wm2jj6/9AgMBAAECggEAO99qc++g9A0FGt/sVR0OPBnzy9kkcG+ozw6dHUzgKP0I
    juNrQUzEhSYBZZ4wnASma02qUOcOzveOLzUdzRg1jTMYP5g1yeuW169xVUG8A0/c
    ZgvIwpR1ExXipV5tCe3McrE7ojLlD59gPpk2yrVa7UGMi0m7/1SUYaGiAATDSTaG
    saHVevpr1Otmrkk97jznQtiFgCx6Hy1rLs68HOtx22oUtfI+v7vLo7eVGbOysrE2
    Yj7IlhG5mQLloBQHeGgkW/aJjg1EG4Ekz9PUrKSACRQRzw2ZC8VC+K6nTTsPSJDk
    FTDhg1fHn0H2j5oexCd/vMJI4Lj6JskQPodXn9XjTQKBgQD6cGzbxE8xerN6r3ls
    5ynOmIk5CsayPp+jtVEkyPApMIkgeWV4qgf3yY6JmhYp0rZ8apH9J/fNKQd6+BJi
    LDr/CaYELi9L9INVmHaMffxfBUwML6SB3O8D07qJzGGGdsfag+W2I4BMFG6Ut7Ra
    tdcP53xCNupTJrO7x03p/3QYtwKBgQDfXgNSK+fxP24es9PSJY0YGwWvLZmXhbdg
    z8hLxb5Ks5UOznqkhzWcG70sHgPeGeXmrzPEms//4oXerxjh6AynEbZNqMs3aMOD
    O1WznKM9j28euHQpWf9uk9VdexA9l3S6m3vkXqwo76wq27WPbL1ORC6esZjUzdrO
    ZCuiLOsA6wKBgQDqkbLkhRLH/W1uVD0fS8VUxHqC+xzwhsdvxryh/7MyYUuPJyVr
    x5Z++EKRj8mCkuJp1ke3HmBzwSJIg2J0oYkAqEDfWYLjWbpJyev/22Eufv+jylwD
    ZrRYmU/3EX+nOkom2bOmzcm1eM26bfZ3oCo3s1InktgX2gAuuZa4vZQ4MQKBgA7O
    NHol3uHmym3OjaPISWnnoKDT7PJWMqmAHE6pdMuOy7qHhSmSrMMEM63Q74CxRsPb
    qRrHCDJ12VnBUWzn7K7GRccwAQhTMWJpdGzLXSafc0YeA9UZ2gyCUAo6NgFfIKWd
    2MByZgbwnADbP1WaZ5HggxaRvweb/XzgtuOxBoKxAoGAcYTOK2OyVPT2zefEexVU
    zDhLe+r5Oe1lkHM+jIA9BEpfZxC+g6c2KdRqQAmIgCYBvsv22ljzGmgCjO7P735v
    VO7tgugyZvqTNX2nV7976XqrlHpr5ej+UyLcidkyFjuqpgxKqKV2WEo+8sTpF/MV
    hTv8cbHK9WIP4SBtfWdDxnc=
    -----END PRIVATE KEY-----
    """
  static let rsaPublic = """
    -----BEGIN PUBLIC KEY-----
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2oPnWxzwTJzkf4XXRTSc
    UoScRkSw2323IdJpLn1VYQCik9ZYXuPequlpXN+vK3w/7Ktwyh3ZOSiaom0TLX3v
    VxnPbKdU10oZyyRL96k50voUW0zAx1H0VPPdNDxshhtDbMj9Wr+t63LcZtZKrFxK
    OhY8qHwTkyW0KNvTmdmyndmeRkFn/Lshv41MtpJSMD0d7TjGjopvFcA/lj+d6nip
    G5aUq/t++dHkH4Hd6WH889ZpR7kNWHYqLXmSUkSXyLdQoLK4Wc5Og1g3NBgLP5tU
    hhPBJ8GmX2jOCwiVJaI3TEv1xF5gne9PuN5BoTHr0jwmASfUZC74kGUuxFpto4+v
    /QIDAQAB
    -----END PUBLIC KEY-----
    """
  static let weakRSAPublic = """
    -----BEGIN PUBLIC KEY-----
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDBohHLqonQ+syh9yjgUQfyQyW3
    gSPKw0YqiDcLwgl2554AlEF1V0Ni/aOu7Mf+0joiZEkQ6tm6BQKSRAGmXmzTFgUN
    JZGAGlwkrKX0OAFh1s4SSNj5sydLBLHnDSTYW6hUFTvfR4KvVrZH2ab+EhJj0hsI
    eabPtu+MYH0Oej+1pwIDAQAB
    -----END PUBLIC KEY-----
    """
  static let ecPrivate = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwQk5cmh0crD/964p
    YwEgxF4inxbT5uxhdSUHRO4356ihRANCAASQm3shopTDdX8tDZZwsYebkk2G1Idz
    OslxuR1ZIqlL9E4nSLxQP0WNqi//KY79UrkCX0h33/vAECs1QIqKcwZr
    -----END PRIVATE KEY-----
    """
  static let ecPublic = """
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkJt7IaKUw3V/LQ2WcLGHm5JNhtSH
    czrJcbkdWSKpS/ROJ0i8UD9Fjaov/ymO/VK5Al9Id9/7wBArNUCKinMGaw==
    -----END PUBLIC KEY-----
    """
  static let p384Public = """
    -----BEGIN PUBLIC KEY-----
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEGPGcJ5NHMcerbyD167h+iAj+SBPC39hY
    6ohiwTb9kCexBw41alOTOsNhadiFwJu1BTm9pIna1Y6ivpRh5Gh41GQ0km54soBC
    YCxeOd8zYzUUiaFAZWC8kKaK5/R8JOeD
    -----END PUBLIC KEY-----
    """
  static let edPrivate = """
    -----BEGIN PRIVATE KEY-----
    MC4CAQAwBQYDK2VwBCIEIEyYUZbFsX9vPPFuHe0kI95YyY2nrVsITowofCzIKGWp
    -----END PRIVATE KEY-----
    """
  static let edPublic = """
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEA6FaFNpwzmZ1vvDwPz4T4Af1sOWln9X+splBN/tpQ2gQ=
    -----END PUBLIC KEY-----
    """

  // The same in base64url, for JWKs.
  static let n =
    "2oPnWxzwTJzkf4XXRTScUoScRkSw2323IdJpLn1VYQCik9ZYXuPequlpXN-vK3w_7Ktwyh3ZOSiaom0TLX3vVxnPbK"
    + "dU10oZyyRL96k50voUW0zAx1H0VPPdNDxshhtDbMj9Wr-t63LcZtZKrFxKOhY8qHwTkyW0KNvTmdmyndmeRkFn_Lsh"
    + "v41MtpJSMD0d7TjGjopvFcA_lj-d6nipG5aUq_t--dHkH4Hd6WH889ZpR7kNWHYqLXmSUkSXyLdQoLK4Wc5Og1g3NB"
    + "gLP5tUhhPBJ8GmX2jOCwiVJaI3TEv1xF5gne9PuN5BoTHr0jwmASfUZC74kGUuxFpto4-v_Q"
  static let weakN =
    "waIRy6qJ0PrMofco4FEH8kMlt4EjysNGKog3C8IJdueeAJRBdVdDYv2jruzH_tI6ImRJEOrZugUCkkQBpl5s0xYFDS"
    + "WRgBpcJKyl9DgBYdbOEkjY-bMnSwSx5w0k2FuoVBU730eCr1a2R9mm_hISY9IbCHmmz7bvjGB9Dno_tac"
  static let x =
    "kJt7IaKUw3V_LQ2WcLGHm5JNhtSHczrJcbkdWSKpS_Q"
  static let y =
    "TidIvFA_RY2qL_8pjv1SuQJfSHff-8AQKzVAiopzBms"
  static let ed =
    "6FaFNpwzmZ1vvDwPz4T4Af1sOWln9X-splBN_tpQ2gQ"
}
