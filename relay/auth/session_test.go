package auth_test

import (
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/session"
)

var _ session.Authority = (*auth.Authority)(nil)
