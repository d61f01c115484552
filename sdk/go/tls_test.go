package chappe_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// The application's TLS configuration stays as it is: it may be that of its other
// connections, which speak no HTTP/2.
func TestTLSIsNotChanged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer s.Close()
	conf := &tls.Config{InsecureSkipVerify: true}
	c := chappe.New(s.URL, chappe.Options{TLS: conf, Transport: "sse"})
	defer closed(t, c)
	if _, err := c.Publish(ctx, "a", chappe.Message{}); err == nil {
		t.Error("it was published, and the answer was empty")
	}
	if conf.NextProtos != nil {
		t.Errorf("NextProtos is %v", conf.NextProtos)
	}
}
