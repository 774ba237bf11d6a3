// What workerd serves beside the guest `echo`.
export default {
  fetch(request) {
    return new Response(request.body);
  },
};
