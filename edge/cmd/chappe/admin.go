package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/chappe-relay/chappe/plugins/api"
)

// maxAnswer bounds what an admin port may answer, in bytes.
const maxAnswer = 4 << 20

// ask makes a request at the admin port. A refusal is an error, as of package api.
func (a *adminFlags) ask(e *env, method, path, body string) ([]byte, error) {
	c, err := a.client(e)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(e.ctx, method, strings.TrimSuffix(c.URL, "/")+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, unanswered(c, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return raw, nil
	}
	var told struct{ Error struct{ Code, Text string } }
	if json.Unmarshal(raw, &told) != nil || told.Error.Code == "" {
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(raw)))
	}
	err = &api.Error{Status: resp.StatusCode, Code: told.Error.Code, Text: told.Error.Text}
	if resp.StatusCode == http.StatusUnauthorized {
		err = unanswered(c, err)
	}
	return nil, err
}
