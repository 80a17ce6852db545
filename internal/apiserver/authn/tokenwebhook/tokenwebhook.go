// Package tokenwebhook proves bearer tokens by asking another program: it gets
// a TokenReview and answers whose the token is. Answers are believed for a
// while. The package starts no goroutine.
package tokenwebhook

import (
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	utilwebhook "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
)

// Options say where the program is; the zero value means there is none.
type Options struct {
	ConfigFile string // a kubeconfig whose cluster is the program
	Version    string // of the TokenReview: v1 or v1beta1; default v1beta1
	CacheTTL   time.Duration
}

// Defaults are upstream's.
func Defaults() Options { return Options{Version: "v1beta1", CacheTTL: 2 * time.Minute} }

// Check says what is wrong with the options.
func (o Options) Check() error {
	if o.ConfigFile == "" {
		return nil
	}
	_, err := o.New(nil)
	return err
}

// New returns what asks the program. audiences are the API server's own.
func (o Options) New(audiences authenticator.Audiences) (authenticator.Token, error) {
	config, err := utilwebhook.LoadKubeconfig(o.ConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-config-file %s is no kubeconfig that can be used: %w", o.ConfigFile, err)
	}
	version := o.Version
	if version == "" {
		version = Defaults().Version
	}
	if version != "v1" && version != "v1beta1" {
		return nil, fmt.Errorf("--authentication-token-webhook-version %q: choose v1 or v1beta1", o.Version)
	}
	hook, err := webhook.New(config, version, audiences, *webhook.DefaultRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-config-file %s: %w", o.ConfigFile, err)
	}
	return cache.New(hook, false, o.CacheTTL, o.CacheTTL), nil
}
