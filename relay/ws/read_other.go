//go:build !unix

package ws

func (c *conn) begin() {}

func (c *conn) wait() { c.waitAny() }

func (c *conn) again() bool { return false }
