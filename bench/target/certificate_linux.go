package target

import "crypto/tls"

// Trusting takes any certificate: the server under test makes its own.
func Trusting() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
