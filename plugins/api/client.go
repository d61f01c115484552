package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
)

// Client asks the administration of one node. Refusals are of type *Error.
type Client struct {
	URL   string       // of the administration, e.g. http://127.0.0.1:8081
	Token string       // the admin token; "": none is sent
	HTTP  *http.Client // nil: http.DefaultClient
}

// Push uploads a version.
func (c *Client) Push(ctx context.Context, b *manifest.Bundle) (*Pushed, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, part := range []struct {
		name string
		data []byte
	}{{"manifest", b.Manifest}, {"wasm", b.Wasm}, {"signature", []byte(b.Signature)}} {
		if len(part.data) == 0 {
			continue
		}
		w, err := form.CreateFormFile(part.name, part.name)
		if err != nil {
			return nil, err
		}
		w.Write(part.data) // to memory: cannot fail
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	out := &Pushed{}
	return out, c.do(ctx, "POST", "/v1/plugins", form.FormDataContentType(), &body, out)
}

// List returns all plugins.
func (c *Client) List(ctx context.Context) ([]Plugin, error) {
	var out struct{ Plugins []Plugin }
	return out.Plugins, c.do(ctx, "GET", "/v1/plugins", "", nil, &out)
}

// Get returns one plugin.
func (c *Client) Get(ctx context.Context, name string) (*Plugin, error) {
	out := &Plugin{}
	return out, c.do(ctx, "GET", path(name, ""), "", nil, out)
}

// Bind lets channels go through a version.
func (c *Client) Bind(ctx context.Context, name string, in BindRequest) ([]registry.Binding, error) {
	return c.change(ctx, name, "/bind", in)
}

// Unbind ends bindings.
func (c *Client) Unbind(ctx context.Context, name string, channels ...string) ([]registry.Binding, error) {
	return c.change(ctx, name, "/unbind", ChannelsRequest{channels})
}

// Promote makes canaries stable.
func (c *Client) Promote(ctx context.Context, name string, in PromoteRequest) ([]registry.Binding, error) {
	return c.change(ctx, name, "/promote", in)
}

// Rollback takes back the last step.
func (c *Client) Rollback(ctx context.Context, name string, channels ...string) ([]registry.Binding, error) {
	return c.change(ctx, name, "/rollback", ChannelsRequest{channels})
}

// Delete removes a version, by its digest or the first digits; "": all.
func (c *Client) Delete(ctx context.Context, name, version string) error {
	p := path(name, "")
	if version != "" {
		p += "?version=" + url.QueryEscape(version)
	}
	return c.do(ctx, "DELETE", p, "", nil, nil)
}

// Logs yields the last lines of a plugin's log, and with follow those that come,
// until ctx ends. An error comes last.
func (c *Client) Logs(ctx context.Context, name string, tail int, follow bool) iter.Seq2[plugins.Line, error] {
	return func(yield func(plugins.Line, error) bool) {
		p := path(name, "/logs") + "?tail=" + strconv.Itoa(tail)
		if follow {
			p += "&follow=true"
		}
		res, err := c.send(ctx, "GET", p, "", nil)
		if err != nil {
			yield(plugins.Line{}, err)
			return
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 64<<10)
		for lines.Scan() {
			var l plugins.Line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				yield(l, fmt.Errorf("log of %s: %w", name, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil {
			yield(plugins.Line{}, fmt.Errorf("log of %s: %w", name, err))
		}
	}
}

func path(name, verb string) string { return "/v1/plugins/" + url.PathEscape(name) + verb }

func (c *Client) change(ctx context.Context, name, verb string, in any) ([]registry.Binding, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var out Bindings
	err = c.do(ctx, "POST", path(name, verb), "application/json", bytes.NewReader(body), &out)
	return out.Bindings, err
}

// maxAnswer is for a list of all versions.
const maxAnswer = 64 << 20

func (c *Client) do(ctx context.Context, method, path, kind string, body io.Reader, out any) error {
	res, err := c.send(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// send makes a request; the answer is one of success.
func (c *Client) send(ctx context.Context, method, path, kind string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	var box struct{ Error *Error }
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(&box); err != nil || box.Error == nil || box.Error.Code == "" {
		return nil, errors.New(method + " " + path + ": " + res.Status)
	}
	box.Error.Status = res.StatusCode
	return nil, box.Error
}
