package demand

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"

	sinawi "github.com/sinawi/sinawi/internal/version"
)

// Declarable are what nodes of this version declare where they support it, and pods may
// ask for.
var (
	Declarable      = ndf.DefaultFramework
	featuresVersion = version.MustParseSemantic(sinawi.Kubernetes)
)

// Features are those that a pod can only run with.
func Features(spec *corev1.PodSpec) ndf.FeatureSet {
	out, err := Declarable.InferForPodScheduling(&ndf.PodInfo{Spec: spec}, featuresVersion)
	if err != nil {
		panic("the version is there: " + err.Error())
	}
	return out
}
