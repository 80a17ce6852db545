package crd

import (
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
)

// promptInformer shows definitions to the handler as if they had been
// established a while ago. The handler holds back the first creations for two
// seconds, so that other API servers of the cluster learn of the definition;
// that is of no use here, where clients talk to the server that established it.
type promptInformer struct {
	informers.CustomResourceDefinitionInformer
}

func (i promptInformer) Lister() listers.CustomResourceDefinitionLister {
	return promptLister{i.CustomResourceDefinitionInformer.Lister()}
}

type promptLister struct {
	listers.CustomResourceDefinitionLister
}

// heldBack is longer than what the handler calls just established.
const heldBack = 5 * time.Second

func (l promptLister) Get(name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, err := l.CustomResourceDefinitionLister.Get(name)
	if err != nil {
		return nil, err
	}
	for i, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established && time.Since(c.LastTransitionTime.Time) < heldBack {
			older := *crd // shares all but the one condition, which is read only here
			older.Status.Conditions = slices.Clone(crd.Status.Conditions)
			older.Status.Conditions[i].LastTransitionTime.Time = c.LastTransitionTime.Add(-heldBack)
			return &older, nil
		}
	}
	return crd, nil
}
