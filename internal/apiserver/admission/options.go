package admission

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/util/webhook"

	"github.com/sinawi/sinawi/internal/apiserver/admission/podsecurity"
)

// Options vary the chain.
type Options struct {
	// Enable and Disable name plugins to be added to those that are on by
	// default, or taken from them.
	Enable, Disable []string
	// ConfigFile is an AdmissionConfiguration: the settings of plugins by name.
	ConfigFile string
	// Services finds the servers behind webhooks that are services; by
	// default, by their endpoints.
	Services webhook.ServiceResolver
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	for _, list := range []struct {
		flag  string
		names []string
	}{{"enable", o.Enable}, {"disable", o.Disable}} {
		for _, name := range list.names {
			if !slices.Contains(names(), name) {
				return fmt.Errorf("--%s-admission-plugins: there is no plugin %q; choose from %s", list.flag, name, strings.Join(names(), ", "))
			}
		}
	}
	for _, name := range o.Enable {
		if slices.Contains(o.Disable, name) {
			return fmt.Errorf("--enable-admission-plugins and --disable-admission-plugins both name %s", name)
		}
	}
	settings, err := o.settings()
	if err != nil {
		return err
	}
	file, err := settings("PodSecurity")
	if err == nil {
		_, err = podsecurity.New(nil, file)
	}
	if err != nil {
		return fmt.Errorf("--admission-control-config-file %s: %w", o.ConfigFile, err)
	}
	return nil
}

// settings returns what the file says of each plugin; a nil reader is nothing.
func (o Options) settings() (func(name string) (io.Reader, error), error) {
	types := runtime.NewScheme()
	install.Install(types)
	provider, err := admission.ReadAdmissionConfiguration(names(), o.ConfigFile, types)
	if err != nil {
		return nil, fmt.Errorf("--admission-control-config-file %s: %w", o.ConfigFile, err)
	}
	return provider.ConfigFor, nil
}

// wants says whether a plugin is on.
func (o Options) wants(name string) bool {
	return !slices.Contains(o.Disable, name) && (slices.Contains(o.Enable, name) || !slices.Contains(offByDefault(), name))
}
