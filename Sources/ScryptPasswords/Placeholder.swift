// ScryptPasswords
