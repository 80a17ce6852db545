package admission

import (
	"context"
	"fmt"
	"io"

	"k8s.io/apiserver/pkg/admission"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/client-go/tools/cache"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// hooks returns the plugins that ask webhooks.
func hooks(h *plug.Host, settings func(string) (io.Reader, error)) (mutatingHooks, validatingHooks, error) {
	registered := h.Informers.Admissionregistration().V1()
	config, err := settings(mutatingwebhook.PluginName)
	if err != nil {
		return mutatingHooks{}, validatingHooks{}, err
	}
	mutating, err := mutatingwebhook.NewMutatingWebhook(config)
	if err != nil {
		return mutatingHooks{}, validatingHooks{}, fmt.Errorf("mutating webhooks: %w", err)
	}
	m := mutatingHooks{mutating, idle(registered.MutatingWebhookConfigurations().Informer(), config != nil)}
	if config, err = settings(validatingwebhook.PluginName); err != nil {
		return mutatingHooks{}, validatingHooks{}, err
	}
	validating, err := validatingwebhook.NewValidatingAdmissionWebhook(config)
	if err != nil {
		return mutatingHooks{}, validatingHooks{}, fmt.Errorf("validating webhooks: %w", err)
	}
	return m, validatingHooks{validating, idle(registered.ValidatingWebhookConfigurations().Informer(), config != nil)}, nil
}

// mutatingHooks does not ask webhooks where there are none. Upstream's plugin
// copies each object for them to see whether they changed it, ten kilobytes a pod.
type mutatingHooks struct {
	*mutatingwebhook.Plugin
	idle func() bool
}

// Admit lets the webhooks change the object.
func (h mutatingHooks) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if h.idle() {
		return nil
	}
	return h.Plugin.Admit(ctx, a, o)
}

// validatingHooks does not ask webhooks where there are none.
type validatingHooks struct {
	*validatingwebhook.Plugin
	idle func() bool
}

// Validate lets the webhooks refuse the object.
func (h validatingHooks) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if h.idle() {
		return nil
	}
	return h.Plugin.Validate(ctx, a, o)
}

// idle says that it is known that no webhook is registered. One whose
// configuration has a file of its own may have webhooks from there.
func idle(registered cache.SharedIndexInformer, configured bool) func() bool {
	if configured {
		return func() bool { return false }
	}
	webhooks := registered.GetIndexer()
	return func() bool { return registered.HasSynced() && len(webhooks.ListKeys()) == 0 }
}
