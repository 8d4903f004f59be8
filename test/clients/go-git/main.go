// Pushes with go-git. Reads the order as JSON from stdin; prints one JSON message per line.
package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
)

type order struct {
	Dir, URL, User, Password, Refspec string
	Options                           []string
}

type text struct {
	Text string `json:"text"`
}

type verdict struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

var out = json.NewEncoder(os.Stdout)

type progress struct{}

func (progress) Write(data []byte) (int, error) {
	return len(data), out.Encode(text{string(data)})
}

func push(order order) error {
	repo, err := git.PlainOpen(order.Dir)
	if err != nil {
		return err
	}
	options := map[string]string{}
	for _, option := range order.Options {
		name, value, _ := strings.Cut(option, "=")
		options[name] = value
	}
	return repo.Push(&git.PushOptions{
		RemoteName: "hypeman",
		RemoteURL:  order.URL,
		RefSpecs:   []config.RefSpec{config.RefSpec(order.Refspec)},
		Auth:       &http.BasicAuth{Username: order.User, Password: order.Password},
		Progress:   progress{},
		Options:    options,
	})
}

func main() {
	var order order
	err := json.NewDecoder(os.Stdin).Decode(&order)
	if err == nil {
		err = push(order)
	}
	if err != nil {
		out.Encode(verdict{false, err.Error()})
		return
	}
	out.Encode(verdict{true, ""})
}
