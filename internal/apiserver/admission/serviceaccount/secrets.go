package serviceaccount

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// mirrorRefers says what a mirror pod refers to that it must not: a node makes
// it, and would gain access to what it names.
func mirrorRefers(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "a mirror pod may not reference service accounts"
	}
	if len(pod.Spec.ImagePullSecrets) > 0 {
		return "a mirror pod may not reference secrets"
	}
	refers := false
	eachEnvSecret(pod, func(string, string, string) bool {
		refers = true
		return false
	})
	if refers {
		return "a mirror pod may not reference secrets"
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			return "a mirror pod may not reference secrets"
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			switch {
			case s.Secret != nil:
				return "a mirror pod may not reference secrets"
			case s.ServiceAccountToken != nil:
				return "a mirror pod may not use ServiceAccountToken volume projections"
			case s.ClusterTrustBundle != nil:
				return "a mirror pod may not use ClusterTrustBundle volume projections"
			}
		}
	}
	return ""
}

// eachEnvSecret calls f for every secret in the environment of a container:
// with what it is ("init container", "container"), whose, and which.
func eachEnvSecret(pod *corev1.Pod, f func(kind, container, secret string) bool) {
	for _, group := range []struct {
		kind string
		list []corev1.Container
	}{{"init container", pod.Spec.InitContainers}, {"container", pod.Spec.Containers}} {
		for i := range group.list {
			c := &group.list[i]
			if !eachSecret(c.Env, c.EnvFrom, func(secret string) bool { return f(group.kind, c.Name, secret) }) {
				return
			}
		}
	}
}

func eachSecret(env []corev1.EnvVar, from []corev1.EnvFromSource, f func(string) bool) bool {
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !f(e.ValueFrom.SecretKeyRef.Name) {
			return false
		}
	}
	for _, e := range from {
		if e.SecretRef != nil && !f(e.SecretRef.Name) {
			return false
		}
	}
	return true
}

func mountable(account *corev1.ServiceAccount) map[string]bool {
	names := map[string]bool{}
	for _, s := range account.Secrets {
		names[s.Name] = true
	}
	return names
}

// limitSecrets refuses a pod that uses secrets which its account does not name.
func limitSecrets(account *corev1.ServiceAccount, pod *corev1.Pod) error {
	allowed := mountable(account)
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !allowed[v.Secret.SecretName] {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret",
				v.Secret.SecretName, account.Name)
		}
	}
	var err error
	eachEnvSecret(pod, func(kind, container, secret string) bool {
		if !allowed[secret] {
			err = fmt.Errorf("%s %s with envVar referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				kind, container, secret, account.Name)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	pull := map[string]bool{}
	for _, s := range account.ImagePullSecrets {
		pull[s.Name] = true
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		if !pull[s.Name] {
			return fmt.Errorf("imagePullSecrets[].name=%q is not allowed because service account %s does not reference that imagePullSecret", s.Name, account.Name)
		}
	}
	return nil
}

func limitEphemeral(account *corev1.ServiceAccount, pod *corev1.Pod) error {
	allowed := mountable(account)
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		if !eachSecret(c.Env, c.EnvFrom, func(secret string) bool { return allowed[secret] }) {
			return errors.New("ephemeral container " + c.Name + " references a secret that service account " + account.Name + " does not reference")
		}
	}
	return nil
}
